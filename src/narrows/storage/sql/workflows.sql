-- Workflows, their runs and steps: the columns stand in the order of core.workflow_records.

-- name: workflows_by_id
select w.project_id, w.id, w.slug, w.name, w.description, w.tags, w.version, w.created_at, w.updated_at,
  w.deleted_at
from @input(project_id text, id text) as i
cross join workflows as w
where w.project_id = i.project_id and w.id = i.id

-- name: workflows_by_slug
select w.project_id, w.id, w.slug, w.name, w.description, w.tags, w.version, w.created_at, w.updated_at,
  w.deleted_at
from @input(project_id text, slug text) as i
cross join workflows as w
where w.project_id = i.project_id and w.slug = i.slug and w.deleted_at is null

-- name: insert_workflows
insert into workflows (project_id, id, slug, name, description, tags, version, created_at, updated_at, deleted_at)
select project_id, id, slug, name, description, tags, version, created_at, updated_at, deleted_at
from @input(project_id text, id text, slug text, name text, description text, tags text, version integer,
  created_at integer, updated_at integer, deleted_at integer)

-- name: update_workflows
update workflows
set slug = i.slug, name = i.name, description = i.description, tags = i.tags, version = i.version,
  updated_at = i.updated_at, deleted_at = i.deleted_at
from @input(project_id text, id text, slug text, name text, description text, tags text, version integer,
  updated_at integer, deleted_at integer) as i
where workflows.project_id = i.project_id and workflows.id = i.id
  and workflows.deleted_at is null

-- name: workflow_versions_by_id
select v.project_id, v.workflow_id, v.version, v.definition, v.created_at
from @input(project_id text, workflow_id text, version integer) as i
cross join workflow_versions as v
where v.project_id = i.project_id and v.workflow_id = i.workflow_id and v.version = i.version

-- name: insert_workflow_versions
insert into workflow_versions (project_id, workflow_id, version, definition, created_at)
select project_id, workflow_id, version, definition, created_at
from @input(project_id text, workflow_id text, version integer, definition text, created_at integer)

-- name: workflow_runs_by_id
select r.project_id, r.id, r.workflow_id, r.workflow_version, r.version, r.status, r.steps, r.payload,
  r.payload_id, r.error, r.tags, r.parent_run_id, r.parent_step, r.depth, r.hops, r.retry_of,
  r.created_by, r.created_at, r.due_at, r.finished_at, r.last_fact_id, r.top_run_id
from @input(project_id text, id text) as i
cross join workflow_runs as r
where r.project_id = i.project_id and r.id = i.id

-- name: insert_workflow_runs
insert into workflow_runs (project_id, id, workflow_id, workflow_version, version, status, steps, payload,
  payload_id, error, tags, parent_run_id, parent_step, depth, hops, retry_of, created_by, created_at,
  due_at, finished_at, last_fact_id, top_run_id)
select project_id, id, workflow_id, workflow_version, version, status, steps, payload,
  payload_id, error, tags, parent_run_id, parent_step, depth, hops, retry_of, created_by, created_at,
  due_at, finished_at, last_fact_id, top_run_id
from @input(project_id text, id text, workflow_id text, workflow_version integer, version integer,
  status text, steps text, payload text, payload_id text, error text, tags text, parent_run_id text,
  parent_step integer, depth integer, hops integer, retry_of text, created_by text, created_at integer,
  due_at integer, finished_at integer, last_fact_id text, top_run_id text)

-- name: update_workflow_runs
-- The guard is a second wall: what has ended never changes.
update workflow_runs
set version = i.version, status = i.status, steps = i.steps, hops = i.hops, error = i.error,
  due_at = i.due_at, finished_at = i.finished_at, last_fact_id = i.last_fact_id@room
from @input(project_id text, id text, version integer, status text, steps text, hops integer, error text,
  due_at integer, finished_at integer, last_fact_id text) as i
where workflow_runs.project_id = i.project_id and workflow_runs.id = i.id
  and workflow_runs.finished_at is null

-- name: delete_workflow_runs
delete from workflow_runs
where (project_id, id) in (select i.project_id, i.id from @input(project_id text, id text) as i)
  and finished_at is not null

-- name: steps_by_number
select s.project_id, s.workflow_run_id, s.step, s.id, s.step_ref, s.step_type, s.version, s.status,
  s.attempt, s.output, s.output_id, s.error, s.votes, s.run_id, s.child_run_id, s.wait_group_id,
  s.created_at, s.started_at, s.finished_at, s.last_fact_id
from @input(project_id text, workflow_run_id text, step integer) as i
cross join steps as s
where s.project_id = i.project_id and s.workflow_run_id = i.workflow_run_id and s.step = i.step

-- name: steps_by_ref
-- For what a person asks of one step: looked for among the rows of its workflow run, which lie together.
select s.project_id, s.workflow_run_id, s.step, s.id, s.step_ref, s.step_type, s.version, s.status,
  s.attempt, s.output, s.output_id, s.error, s.votes, s.run_id, s.child_run_id, s.wait_group_id,
  s.created_at, s.started_at, s.finished_at, s.last_fact_id
from @input(project_id text, workflow_run_id text, step_ref text) as i
cross join steps as s
where s.project_id = i.project_id and s.workflow_run_id = i.workflow_run_id and s.step_ref = i.step_ref

-- name: insert_steps
insert into steps (project_id, workflow_run_id, step, id, step_ref, step_type, version, status, attempt,
  output, output_id, error, votes, run_id, child_run_id, wait_group_id, created_at, started_at,
  finished_at, last_fact_id)
select project_id, workflow_run_id, step, id, step_ref, step_type, version, status, attempt,
  output, output_id, error, votes, run_id, child_run_id, wait_group_id, created_at, started_at,
  finished_at, last_fact_id
from @input(project_id text, workflow_run_id text, step integer, id text, step_ref text, step_type text,
  version integer, status text, attempt integer, output text, output_id text, error text, votes text,
  run_id text, child_run_id text, wait_group_id text, created_at integer, started_at integer,
  finished_at integer, last_fact_id text)

-- name: update_steps
-- What has ended may begin again (a retry), as long as its workflow run lives.
update steps
set version = i.version, status = i.status, attempt = i.attempt, output = i.output, output_id = i.output_id,
  error = i.error, votes = i.votes, run_id = i.run_id, child_run_id = i.child_run_id,
  wait_group_id = i.wait_group_id, started_at = i.started_at, finished_at = i.finished_at,
  last_fact_id = i.last_fact_id@room
from @input(project_id text, workflow_run_id text, step integer, version integer, status text,
  attempt integer, output text, output_id text, error text, votes text, run_id text, child_run_id text,
  wait_group_id text, started_at integer, finished_at integer, last_fact_id text) as i
where steps.project_id = i.project_id and steps.workflow_run_id = i.workflow_run_id and steps.step = i.step

-- name: delete_steps_of_workflow_runs
delete from steps
where (project_id, workflow_run_id) in (select i.project_id, i.workflow_run_id
  from @input(project_id text, workflow_run_id text) as i)

-- name: add_workflow_run_counters
insert into workflow_run_counters (project_id, workflow_id, writer, running, paused, completed, failed, timed_out,
  canceled)
select project_id, workflow_id, writer, running, paused, completed, failed, timed_out, canceled
from @input(project_id text, workflow_id text, writer text, running integer, paused integer,
  completed integer, failed integer, timed_out integer, canceled integer)
where true
on conflict (project_id, workflow_id, writer) do update set
  running = workflow_run_counters.running + excluded.running,
  paused = workflow_run_counters.paused + excluded.paused,
  completed = workflow_run_counters.completed + excluded.completed,
  failed = workflow_run_counters.failed + excluded.failed,
  timed_out = workflow_run_counters.timed_out + excluded.timed_out,
  canceled = workflow_run_counters.canceled + excluded.canceled
