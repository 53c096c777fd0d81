-- What `narrows verify` asks about workflows, their runs and steps: as in verify.sql, each finds nothing in a
-- sound store, else (text, count) rows. The letters of steps are those of core.states.STEP_LETTERS.

-- name: verify_workflow_run_counters
with counted as (
  select project_id, workflow_id,
    count(*) filter (where status = 'running') as running, count(*) filter (where status = 'paused') as paused,
    count(*) filter (where status = 'completed') as completed, count(*) filter (where status = 'failed') as failed,
    count(*) filter (where status = 'timed_out') as timed_out, count(*) filter (where status = 'canceled') as canceled
  from workflow_runs group by project_id, workflow_id
), kept as (
  select project_id, workflow_id, sum(running) as running, sum(paused) as paused, sum(completed) as completed,
    sum(failed) as failed, sum(timed_out) as timed_out, sum(canceled) as canceled
  from workflow_run_counters group by project_id, workflow_id
)
select k.project_id || ' ' || k.workflow_id, k.running
from kept as k left join counted as c on c.project_id = k.project_id and c.workflow_id = k.workflow_id
where k.running <> coalesce(c.running, 0) or k.paused <> coalesce(c.paused, 0)
  or k.completed <> coalesce(c.completed, 0) or k.failed <> coalesce(c.failed, 0)
  or k.timed_out <> coalesce(c.timed_out, 0) or k.canceled <> coalesce(c.canceled, 0)
union all
select c.project_id || ' ' || c.workflow_id, c.running from counted as c
where not exists (select 1 from kept as k where k.project_id = c.project_id and k.workflow_id = c.workflow_id)
limit 20

-- name: verify_live_workflow_runs
with counted as (
  select project_id, count(*) as live from workflow_runs where finished_at is null group by project_id
), kept as (
  select project_id, sum(workflow_runs) as live from counters group by project_id
)
select k.project_id, k.live from kept as k left join counted as c on c.project_id = k.project_id
where k.live <> coalesce(c.live, 0)
union all
select c.project_id, c.live from counted as c
where not exists (select 1 from kept as k where k.project_id = c.project_id)
limit 20

-- name: verify_descendants
-- Retention may have taken some of those that were counted.
with counted as (
  select project_id, top_run_id, count(*) as descendants
  from workflow_runs where top_run_id is not null group by project_id, top_run_id
)
select c.project_id || ' ' || c.top_run_id, c.descendants
from counted as c join roots as o on o.project_id = c.project_id and o.id = c.top_run_id
where o.descendants < c.descendants
limit 20

-- name: verify_workflows
-- A run keeps the version that it was started with, so that none of them ever goes.
select r.project_id || ' ' || r.id, r.workflow_version
from workflow_runs as r
where not exists (select 1 from workflow_versions as v
  where v.project_id = r.project_id and v.workflow_id = r.workflow_id and v.version = r.workflow_version)
union all
select w.project_id || ' ' || w.id, w.version
from workflows as w
where not exists (select 1 from projects as p where p.id = w.project_id)
  or w.version <> (select count(*) from workflow_versions as v
    where v.project_id = w.project_id and v.workflow_id = w.id and v.version between 1 and w.version)
union all
select v.project_id || ' ' || v.workflow_id, v.version
from workflow_versions as v
where not exists (select 1 from workflows as w
  where w.project_id = v.project_id and w.id = v.workflow_id and w.version >= v.version)
limit 20

-- name: verify_workflow_run_roots
select r.project_id || ' ' || r.id, 1
from workflow_runs as r left join roots as o on o.project_id = r.project_id and o.id = r.id
where o.id is null or o.kind <> 'workflow_run' or (o.ended_at is null) <> (r.finished_at is null)
union all
select o.project_id || ' ' || o.id, 1
from roots as o
where o.kind = 'workflow_run' and not exists (select 1 from workflow_runs as r
  where r.project_id = o.project_id and r.id = o.id)
limit 20

-- name: verify_workflow_run_states
-- What has ended has an end, nothing due and no step that lives. What has not has something to wait for: a
-- step that has begun; while it is paused, one whose turn may come is enough.
select r.project_id || ' ' || r.id, 1
from workflow_runs as r
where (r.status in ('completed', 'failed', 'timed_out', 'canceled')) <> (r.finished_at is not null)
  or (r.finished_at is not null and (r.due_at is not null
    or length(replace(replace(replace(replace(replace(r.steps, 'p', ''), 'q', ''), 'r', ''), 'w', ''), 'd', ''))
      <> length(r.steps)))
  or (r.status = 'running' and length(replace(replace(replace(r.steps, 'r', ''), 'w', ''), 'd', ''))
    = length(r.steps))
  or (r.status = 'paused'
    and length(replace(replace(replace(replace(r.steps, 'q', ''), 'r', ''), 'w', ''), 'd', '')) = length(r.steps))
limit 20

-- name: verify_steps
-- A step's row says what its letter says. (Of one that never began its run's end is told by the letter alone.)
select s.project_id || ' ' || s.id, s.step
from steps as s left join workflow_runs as r on r.project_id = s.project_id and r.id = s.workflow_run_id
where r.id is null or s.id <> s.workflow_run_id || ':' || s.step_ref
  or (substr(r.steps, cast(s.step + 1 as integer), 1) <> case s.status
      when 'pending' then 'p' when 'queued' then 'q' when 'running' then 'r' when 'waiting' then 'w'
      when 'delayed' then 'd' when 'completed' then 'c' when 'failed' then 'f' when 'timed_out' then 't'
      when 'skipped' then 's' else 'x' end
    and not (r.finished_at is not null and s.status in ('pending', 'queued')
      and substr(r.steps, cast(s.step + 1 as integer), 1) = 'x'))
  or (s.status in ('completed', 'failed', 'timed_out', 'skipped', 'canceled')) <> (s.finished_at is not null)
limit 20

-- name: verify_step_rows
-- Every step that has begun, or has ended otherwise than with its run, has a row.
select r.project_id || ' ' || r.id, length(r.steps)
from workflow_runs as r
where length(replace(replace(replace(r.steps, 'p', ''), 'q', ''), 'x', '')) <> (select count(*) from steps as s
  where s.project_id = r.project_id and s.workflow_run_id = r.id
    and s.status not in ('pending', 'queued', 'canceled'))
limit 20

-- name: verify_running_steps
-- What a running step waits for goes on: its run; or its sub-workflow, or a message that starts that or says
-- how it has ended.
select s.project_id || ' ' || s.id, s.attempt
from steps as s
where s.status = 'running' and not exists (select 1 from runs as j
    where j.project_id = s.project_id and j.id = s.run_id and j.workflow_step_run_id = s.id
      and j.finished_at is null)
  and not exists (select 1 from workflow_runs as c
    where c.project_id = s.project_id and c.id = s.child_run_id and c.parent_run_id = s.workflow_run_id
      and c.parent_step = s.step and c.finished_at is null)
  and not exists (select 1 from messages as m
    where m.project_id = s.project_id and s.child_run_id is not null
      and (m.id = s.child_run_id or (m.kind = 'workflow_run_ended' and m.subject_id = s.workflow_run_id)))
limit 20

-- name: verify_waiting_steps
-- The group of a step that is parked, or between two attempts, is its own, is not reached yet, and can be
-- reached still. (How many of the received count where voters are told apart, only their payloads say.)
select s.project_id || ' ' || s.id, s.attempt
from steps as s
where s.status in ('waiting', 'delayed') and not exists (
  select 1 from wait_groups as g
  where g.project_id = s.project_id and g.id = s.wait_group_id and g.workflow_run_id = s.workflow_run_id
    and (select count(*) filter (where t.status = 'waiting') > 0
           and count(*) filter (where t.status in ('received', 'waiting')) >= g.needed
           and (g.distinct_by is not null or count(*) filter (where t.status = 'received') < g.needed)
         from @each(g.trigger_ids) as named
         cross join triggers as t
         where t.project_id = g.project_id and t.id = named.value and t.wait_group_id = g.id
           and t.workflow_step_run_id = s.id))
limit 20

-- name: verify_waits_of_steps
-- A trigger outlives its waiter, as in verify_waits_of_runs.
select t.project_id || ' ' || t.id, 1
from triggers as t
where t.status = 'waiting' and t.workflow_run_id is not null and (t.root_id <> t.workflow_run_id
  or not exists (select 1 from workflow_runs as r
    where r.project_id = t.project_id and r.id = t.workflow_run_id and r.finished_at is null)
  or (t.job_run_id is null and not exists (select 1 from steps as s
    where s.project_id = t.project_id and s.workflow_run_id = t.workflow_run_id and s.id = t.workflow_step_run_id
      and s.status in ('waiting', 'delayed') and s.wait_group_id = t.wait_group_id)))
limit 20

-- name: verify_runs_of_steps
-- A run outlives the step that it was started by.
select j.project_id || ' ' || j.id, j.attempt
from runs as j
where j.finished_at is null and j.workflow_run_id is not null and (j.root_id <> j.workflow_run_id
  or not exists (select 1 from workflow_runs as r
    where r.project_id = j.project_id and r.id = j.workflow_run_id and r.finished_at is null)
  or not exists (select 1 from steps as s
    where s.project_id = j.project_id and s.workflow_run_id = j.workflow_run_id and s.id = j.workflow_step_run_id
      and s.status = 'running' and s.run_id = j.id))
limit 20

-- name: verify_sub_workflows
-- A sub-workflow is one deeper than its parent, which retention may have taken; as long as it goes on, a step
-- waits for it, or a message will cancel it.
select c.project_id || ' ' || c.id, c.depth
from workflow_runs as c left join workflow_runs as p on p.project_id = c.project_id and p.id = c.parent_run_id
where (c.parent_run_id is null) <> (c.parent_step is null) or (c.parent_run_id is null) <> (c.depth = 0)
  or (c.parent_run_id is null) <> (c.top_run_id is null)
  or c.top_run_id <> case when p.depth = 0 then p.id else p.top_run_id end
  or p.depth <> c.depth - 1 or c.parent_step not between 0 and length(p.steps) - 1
  or (c.finished_at is null and c.parent_run_id is not null
    and not exists (select 1 from steps as s
      where s.project_id = c.project_id and s.workflow_run_id = c.parent_run_id and s.step = c.parent_step
        and s.status = 'running' and s.child_run_id = c.id)
    and not exists (select 1 from messages as m
      where m.project_id = c.project_id and m.kind = 'cancel_workflow_run' and m.subject_id = c.id))
limit 20

-- name: verify_workflow_payloads
with named (project_id, holder, id) as (
  select project_id, id, payload_id from workflow_runs where payload_id is not null
  union all
  select project_id, id, output_id from steps where output_id is not null
  union all
  select project_id, id, payload_id from messages where payload_id is not null
)
select n.project_id || ' ' || n.holder, 1
from named as n
where not exists (select 1 from payloads as p where p.project_id = n.project_id and p.id = n.id)
limit 20

-- name: verify_workflow_facts
-- The newest fact is of the run or one of its steps, and of its version; a step's own is of its state. One that
-- retention has taken is no fault; it takes the oldest first.
select r.project_id || ' ' || r.id, r.version
from workflow_runs as r left join facts as f on f.project_id = r.project_id and f.id = r.last_fact_id
where f.root_id <> r.id or f.version <> r.version
  or (f.id is null and r.last_fact_id > (select min(o.id) from facts as o where o.project_id = r.project_id))
  or (r.finished_at is not null and f.kind <> 'workflow_run.' || r.status)
union all
select s.project_id || ' ' || s.id, s.version
from steps as s left join facts as f on f.project_id = s.project_id and f.id = s.last_fact_id
where f.subject_id <> s.id or f.root_id <> s.workflow_run_id
  or (f.id is null and s.last_fact_id > (select min(o.id) from facts as o where o.project_id = s.project_id))
  or (s.finished_at is not null and f.kind <> 'step.' || s.status)
limit 20

-- name: verify_workflow_runs_ended_once
-- Facts within retention: nothing of a workflow run happens after its end.
select f.project_id || ' ' || f.subject_id, count(*)
from facts as f
where f.kind in ('workflow_run.completed', 'workflow_run.failed', 'workflow_run.timed_out', 'workflow_run.canceled')
group by f.project_id, f.subject_id
having count(*) > 1
union all
select f.project_id || ' ' || f.subject_id, f.version
from facts as f join facts as b on b.project_id = f.project_id and b.id = f.previous_id
where f.root_id = b.subject_id
  and b.kind in ('workflow_run.completed', 'workflow_run.failed', 'workflow_run.timed_out', 'workflow_run.canceled')
limit 20
