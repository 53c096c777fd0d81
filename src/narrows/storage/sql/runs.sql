-- Runs and what they wait for: the columns stand in the order of core.run_records.

-- name: runs_by_id
select r.project_id, r.id, r.job_id, r.version, r.status, r.priority, r.attempt, r.dispatch,
  r.timeout_secs, r.max_attempts, r.root_id, r.workflow_run_id, r.workflow_step_run_id, r.payload,
  r.payload_id, r.result, r.result_id, r.state, r.state_id, r.error, r.tags, r.progress, r.holder,
  r.wait_group_id, r.replay_of, r.created_by, r.created_at, r.scheduled_at, r.due_at,
  r.dispatched_at, r.finished_at, r.last_fact_id
from @input(project_id text, id text) as i
cross join runs as r
where r.project_id = i.project_id and r.id = i.id

-- name: queued_runs_by_job
-- The head of a job's queue, read in the order of its index.
select r.project_id, r.id, r.job_id, r.version, r.status, r.priority, r.attempt, r.dispatch,
  r.timeout_secs, r.max_attempts, r.root_id, r.workflow_run_id, r.workflow_step_run_id, r.payload,
  r.payload_id, r.result, r.result_id, r.state, r.state_id, r.error, r.tags, r.progress, r.holder,
  r.wait_group_id, r.replay_of, r.created_by, r.created_at, r.scheduled_at, r.due_at,
  r.dispatched_at, r.finished_at, r.last_fact_id
from @input(project_id text, job_id text, most integer) as i
cross join runs as r
where r.project_id = i.project_id and r.id in (
  select q.id from runs as q @queue
  where q.project_id = i.project_id and q.job_id = i.job_id and q.status = 'queued'
  order by q.priority desc, q.id
  limit (select max(cast(m.most as integer)) from @input(project_id text, job_id text, most integer) as m))

-- name: insert_runs
insert into runs (project_id, id, job_id, version, status, priority, attempt, dispatch, timeout_secs, max_attempts,
  root_id, workflow_run_id, workflow_step_run_id, payload, payload_id, result, result_id, state,
  state_id, error, tags, progress, holder, wait_group_id, replay_of, created_by, created_at,
  scheduled_at, due_at, dispatched_at, finished_at, last_fact_id)
select project_id, id, job_id, version, status, priority, attempt, dispatch, timeout_secs, max_attempts,
  root_id, workflow_run_id, workflow_step_run_id, payload, payload_id, result, result_id, state,
  state_id, error, tags, progress, holder, wait_group_id, replay_of, created_by, created_at,
  scheduled_at, due_at, dispatched_at, finished_at, last_fact_id
from @input(project_id text, id text, job_id text, version integer, status text, priority integer,
  attempt integer, dispatch integer, timeout_secs integer, max_attempts integer, root_id text,
  workflow_run_id text, workflow_step_run_id text, payload text, payload_id text, result text,
  result_id text, state text, state_id text, error text, tags text, progress text, holder text,
  wait_group_id text, replay_of text, created_by text, created_at integer, scheduled_at integer,
  due_at integer, dispatched_at integer, finished_at integer, last_fact_id text)

-- name: update_runs
-- The guard is a second wall: what has ended never changes.
update runs
set version = i.version, status = i.status, attempt = i.attempt, dispatch = i.dispatch,
  result = i.result, result_id = i.result_id, state = i.state, state_id = i.state_id,
  error = i.error, progress = i.progress, holder = i.holder, wait_group_id = i.wait_group_id,
  due_at = i.due_at, dispatched_at = i.dispatched_at, finished_at = i.finished_at,
  last_fact_id = i.last_fact_id@room
from @input(project_id text, id text, version integer, status text, attempt integer, dispatch integer,
  result text, result_id text, state text, state_id text, error text, progress text, holder text,
  wait_group_id text, due_at integer, dispatched_at integer, finished_at integer, last_fact_id text) as i
where runs.project_id = i.project_id and runs.id = i.id
  and runs.finished_at is null

-- name: renew_runs
-- A longer lease changes nothing else.
update runs
set due_at = i.due_at
from @input(project_id text, id text, due_at integer) as i
where runs.project_id = i.project_id and runs.id = i.id
  and runs.status = 'executing'

-- name: delete_runs
delete from runs
where (project_id, id) in (select i.project_id, i.id from @input(project_id text, id text) as i)
  and finished_at is not null

-- name: run_counters_by_job
select c.project_id, c.job_id, '' as writer, cast(sum(c.delayed) as bigint) as delayed, cast(sum(c.queued) as bigint) as queued,
  cast(sum(c.executing) as bigint) as executing, cast(sum(c.waiting) as bigint) as waiting, cast(sum(c.completed) as bigint) as completed,
  cast(sum(c.failed) as bigint) as failed, cast(sum(c.timed_out) as bigint) as timed_out, cast(sum(c.canceled) as bigint) as canceled,
  cast(sum(c.dead_letter) as bigint) as dead_letter
from @input(project_id text, job_id text) as i
cross join run_counters as c
where c.project_id = i.project_id and c.job_id = i.job_id
group by c.project_id, c.job_id

-- name: run_counters_by_slug
-- The same for a job that is known by its slug.
select c.project_id, c.job_id, '' as writer, cast(sum(c.delayed) as bigint) as delayed, cast(sum(c.queued) as bigint) as queued,
  cast(sum(c.executing) as bigint) as executing, cast(sum(c.waiting) as bigint) as waiting, cast(sum(c.completed) as bigint) as completed,
  cast(sum(c.failed) as bigint) as failed, cast(sum(c.timed_out) as bigint) as timed_out, cast(sum(c.canceled) as bigint) as canceled,
  cast(sum(c.dead_letter) as bigint) as dead_letter
from @input(project_id text, slug text) as i
cross join jobs as j
cross join run_counters as c
where j.project_id = i.project_id and j.slug = i.slug and j.deleted_at is null
  and c.project_id = j.project_id and c.job_id = j.id
group by c.project_id, c.job_id

-- name: replay_tally_by_group
-- How many live replays show the end of a wait group that an earlier run was in.
select i.project_id, i.wait_group_id,
  (select count(*) from runs as r
   where r.project_id = i.project_id and r.wait_group_id = i.wait_group_id
     and r.replay_of is not null and r.finished_at is null) as live
from @input(project_id text, wait_group_id text) as i

-- name: add_run_counters
insert into run_counters (project_id, job_id, writer, delayed, queued, executing, waiting, completed, failed, timed_out,
  canceled, dead_letter)
select project_id, job_id, writer, delayed, queued, executing, waiting, completed, failed, timed_out,
  canceled, dead_letter
from @input(project_id text, job_id text, writer text, delayed integer, queued integer, executing integer,
  waiting integer, completed integer, failed integer, timed_out integer, canceled integer,
  dead_letter integer)
where true
on conflict (project_id, job_id, writer) do update set
  delayed = run_counters.delayed + excluded.delayed,
  queued = run_counters.queued + excluded.queued,
  executing = run_counters.executing + excluded.executing,
  waiting = run_counters.waiting + excluded.waiting,
  completed = run_counters.completed + excluded.completed,
  failed = run_counters.failed + excluded.failed,
  timed_out = run_counters.timed_out + excluded.timed_out,
  canceled = run_counters.canceled + excluded.canceled,
  dead_letter = run_counters.dead_letter + excluded.dead_letter

-- name: wait_groups_by_id
select g.project_id, g.id, g.root_id, g.run_id, g.mode, g.needed, g.trigger_ids, g.on_timeout,
  g.on_cancel, g.created_at, g.workflow_run_id, g.distinct_by, g.has_veto
from @input(project_id text, id text) as i
cross join wait_groups as g
where g.project_id = i.project_id and g.id = i.id

-- name: insert_wait_groups
insert into wait_groups (project_id, id, root_id, run_id, mode, needed, trigger_ids, on_timeout, on_cancel, created_at,
  workflow_run_id, distinct_by, has_veto)
select project_id, id, root_id, run_id, mode, needed, trigger_ids, on_timeout, on_cancel, created_at,
  workflow_run_id, distinct_by, has_veto
from @input(project_id text, id text, root_id text, run_id text, mode text, needed integer, trigger_ids text,
  on_timeout text, on_cancel text, created_at integer, workflow_run_id text, distinct_by text,
  has_veto integer)

-- name: delete_wait_groups
delete from wait_groups
where (project_id, id) in (select i.project_id, i.id from @input(project_id text, id text) as i)

-- name: run_answers_by_dispatch
select a.project_id, a.run_id, a.dispatch, a.call, a.body_hash, a.reply, a.answered_at
from @input(project_id text, run_id text, dispatch integer) as i
cross join run_answers as a
where a.project_id = i.project_id and a.run_id = i.run_id and a.dispatch = i.dispatch

-- name: insert_run_answers
insert into run_answers (project_id, run_id, dispatch, call, body_hash, reply, answered_at)
select project_id, run_id, dispatch, call, body_hash, reply, answered_at
from @input(project_id text, run_id text, dispatch integer, call text, body_hash text, reply text,
  answered_at integer)

-- name: delete_run_answers_of_runs
delete from run_answers
where (project_id, run_id) in (select i.project_id, i.run_id from @input(project_id text, run_id text) as i)

-- name: update_roots
update roots set ended_at = i.ended_at, descendants = roots.descendants + i.started
from @input(project_id text, id text, ended_at integer, started integer) as i
where roots.project_id = i.project_id and roots.id = i.id

-- name: delete_roots
delete from roots
where (project_id, id) in (select i.project_id, i.id from @input(project_id text, id text) as i)
  and ended_at is not null
