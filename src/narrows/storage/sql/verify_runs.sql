-- What `narrows verify` asks about jobs, runs, waits and deliveries: as in verify.sql, each finds nothing
-- in a sound store, else (text, count) rows.

-- name: verify_run_counters
with counted as (
  select project_id, job_id,
    count(*) filter (where status = 'delayed') as delayed, count(*) filter (where status = 'queued') as queued,
    count(*) filter (where status = 'executing') as executing, count(*) filter (where status = 'waiting') as waiting,
    count(*) filter (where status = 'completed') as completed, count(*) filter (where status = 'failed') as failed,
    count(*) filter (where status = 'timed_out') as timed_out, count(*) filter (where status = 'canceled') as canceled,
    count(*) filter (where status = 'dead_letter') as dead_letter
  from runs group by project_id, job_id
), kept as (
  select project_id, job_id, sum(delayed) as delayed, sum(queued) as queued,
    sum(executing) as executing, sum(waiting) as waiting, sum(completed) as completed,
    sum(failed) as failed, sum(timed_out) as timed_out, sum(canceled) as canceled,
    sum(dead_letter) as dead_letter
  from run_counters group by project_id, job_id
)
select k.project_id || ' ' || k.job_id, k.queued
from kept as k left join counted as c on c.project_id = k.project_id and c.job_id = k.job_id
where k.delayed <> coalesce(c.delayed, 0) or k.queued <> coalesce(c.queued, 0)
  or k.executing <> coalesce(c.executing, 0) or k.waiting <> coalesce(c.waiting, 0)
  or k.completed <> coalesce(c.completed, 0) or k.failed <> coalesce(c.failed, 0)
  or k.timed_out <> coalesce(c.timed_out, 0) or k.canceled <> coalesce(c.canceled, 0)
  or k.dead_letter <> coalesce(c.dead_letter, 0)
union all
select c.project_id || ' ' || c.job_id, c.queued from counted as c
where not exists (select 1 from kept as k where k.project_id = c.project_id and k.job_id = c.job_id)
limit 20

-- name: verify_jobs
select r.project_id || ' ' || r.job_id, count(*)
from runs as r
where not exists (select 1 from jobs as j where j.project_id = r.project_id and j.id = r.job_id)
group by r.project_id, r.job_id
union all
select j.project_id || ' ' || j.id, 1
from jobs as j
where not exists (select 1 from projects as p where p.id = j.project_id)
limit 20

-- name: verify_deleted_jobs
-- Live runs of a deleted job are canceled by a message, which goes with the last of them.
select j.project_id || ' ' || j.id, (select count(*) from runs as r
  where r.project_id = j.project_id and r.job_id = j.id and r.finished_at is null) as live
from jobs as j
where j.deleted_at is not null
  and (select sum(c.delayed + c.queued + c.executing + c.waiting) from run_counters as c
       where c.project_id = j.project_id and c.job_id = j.id) > 0
  and not exists (select 1 from messages as m where m.project_id = j.project_id and m.subject_id = j.id)
union all
select m.project_id || ' ' || m.id, m.hops
from messages as m
where m.kind = 'cancel_runs_of_job' and not exists (select 1 from jobs as j
  where j.project_id = m.project_id and j.id = m.subject_id and j.deleted_at is not null)
limit 20

-- name: verify_waiting_runs
-- The group of a waiting run is its own, is not reached yet, and can be reached still.
select r.project_id || ' ' || r.id, 1
from runs as r
where r.status = 'waiting' and not exists (
  select 1 from wait_groups as g
  where g.project_id = r.project_id and g.id = r.wait_group_id and g.run_id = r.id
    and (select count(*) filter (where t.status = 'received') < g.needed
           and count(*) filter (where t.status in ('received', 'waiting')) >= g.needed
         from @each(g.trigger_ids) as named
         cross join triggers as t
         where t.project_id = g.project_id and t.id = named.value and t.wait_group_id = g.id
           and t.job_run_id = r.id))
limit 20

-- name: verify_waits_of_runs
-- Bug 10: a trigger outlives its waiter, and a later event brings that back to life.
select t.project_id || ' ' || t.id, 1
from triggers as t
where t.status = 'waiting' and t.wait_group_id is not null
  and (t.job_run_id is not null or t.workflow_run_id is null) and not exists (
  select 1 from runs as r
  where r.project_id = t.project_id and r.id = t.job_run_id and r.status = 'waiting'
    and r.wait_group_id = t.wait_group_id)
limit 20

-- name: verify_run_due
select r.project_id || ' ' || r.id, 1
from runs as r
where (r.status in ('delayed', 'executing')) <> (r.due_at is not null)
  or (r.status in ('completed', 'failed', 'timed_out', 'canceled', 'dead_letter'))
    <> (r.finished_at is not null)
  or (r.status = 'executing' and r.holder is null)
limit 20

-- name: verify_run_roots
-- A run that waits has a root, which ends with it; a workflow run that started it ends later.
select r.project_id || ' ' || r.id, 1
from runs as r left join roots as o on o.project_id = r.project_id and o.id = r.root_id
where (o.id is null and r.status = 'waiting') or (o.ended_at is not null and r.finished_at is null)
  or (r.root_id = r.id and o.ended_at is null and o.id is not null and r.finished_at is not null)
limit 20

-- name: verify_run_payloads
with named (project_id, run_id, id) as (
  select project_id, id, payload_id from runs where payload_id is not null
  union all
  select project_id, id, result_id from runs where result_id is not null
  union all
  select project_id, id, state_id from runs where state_id is not null
)
select n.project_id || ' ' || n.run_id, 1
from named as n
where not exists (select 1 from payloads as p where p.project_id = n.project_id and p.id = n.id)
limit 20

-- name: verify_run_newest_fact
-- A fact that retention has taken is no fault; it takes the oldest first.
select r.project_id || ' ' || r.id, 1
from runs as r left join facts as f on f.project_id = r.project_id and f.id = r.last_fact_id
where (f.id is null and r.last_fact_id > (select min(o.id) from facts as o where o.project_id = r.project_id))
  or f.subject_id <> r.id or f.version <> r.version or not case r.status
    when 'delayed' then f.kind in ('run.created', 'run.retried')
    when 'queued' then f.kind in ('run.created', 'run.due', 'run.released', 'run.lease_lost', 'run.resumed')
    when 'executing' then f.kind in ('run.dispatched', 'run.checkpointed', 'run.logged', 'run.progressed')
    when 'dead_letter' then f.kind = 'run.dead_lettered'
    else f.kind = 'run.' || r.status
  end
limit 20

-- name: verify_run_facts
-- Each change of a run follows from the one before it: what resumes was waiting, what is dispatched was
-- queued, and nothing follows upon an end.
select f.project_id || ' ' || f.subject_id, f.version
from facts as f join facts as b on b.project_id = f.project_id and b.id = f.previous_id
where f.kind like 'run.%' and (b.subject_id <> f.subject_id or b.version <> f.version - 1
  or not case f.kind
    when 'run.created' then false
    when 'run.dispatched' then
      b.kind in ('run.created', 'run.due', 'run.released', 'run.lease_lost', 'run.resumed')
    when 'run.due' then b.kind in ('run.created', 'run.retried')
    when 'run.resumed' then b.kind = 'run.waiting'
    when 'run.timed_out' then b.kind = 'run.waiting'
    when 'run.canceled' then b.kind not in ('run.completed', 'run.failed', 'run.timed_out',
      'run.canceled', 'run.dead_lettered')
    else b.kind in ('run.dispatched', 'run.checkpointed', 'run.logged', 'run.progressed')
  end)
limit 20

-- name: verify_run_changed_once
-- Facts within retention: a run goes on from each of its versions once, so that no wait resumes it twice.
select f.project_id || ' ' || f.subject_id, count(*)
from facts as f
where f.kind like 'run.%'
group by f.project_id, f.subject_id, f.version
having count(*) > 1
limit 20

-- name: verify_dispatches
with dispatched as (
  select f.project_id, f.subject_id, max(f.detail ->> 'dispatch') as newest, count(*) as times,
    count(distinct f.detail ->> 'dispatch') as numbers
  from facts as f
  where f.kind = 'run.dispatched'
  group by f.project_id, f.subject_id
)
select r.project_id || ' ' || r.id, r.dispatch
from runs as r left join dispatched as d on d.project_id = r.project_id and d.subject_id = r.id
where (r.dispatch = 0) <> (r.dispatched_at is null)
  or (r.dispatch = 0 and r.status not in ('delayed', 'queued', 'canceled'))
  or r.attempt not between 1 and r.max_attempts
  or d.newest <> r.dispatch or d.times <> d.numbers
limit 20

-- name: verify_run_answers
-- A dispatch that was answered is over, and there is none after the newest.
select a.project_id || ' ' || a.run_id, a.dispatch
from run_answers as a left join runs as r on r.project_id = a.project_id and r.id = a.run_id
where r.id is null or a.dispatch > r.dispatch or (a.dispatch = r.dispatch and r.status = 'executing')
limit 20

-- name: verify_deliveries
-- What is pending is due, what is over is dated, and each is about a trigger that there is.
select d.project_id || ' ' || d.id, d.attempts
from deliveries as d
where (d.status = 'pending') <> (d.due_at is not null)
  or (d.status = 'pending') <> (d.finished_at is null)
  or not exists (select 1 from triggers as t where t.project_id = d.project_id and t.id = d.trigger_id)
limit 20

-- name: verify_notified
-- A trigger shows how its newest delivery stands; one that is pending keeps it from purge.
select t.project_id || ' ' || t.id, 1
from triggers as t
where t.notify_status = 'pending' and not exists (select 1 from deliveries as d
  where d.project_id = t.project_id and d.trigger_id = t.id and d.status = 'pending')
limit 20
