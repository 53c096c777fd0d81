-- Reads of workflows, their runs and steps. Columns stand in the order of core.workflow_records.

-- name: list_workflows_floor
select w.id from workflows as w
where w.project_id = :project_id and w.id < :before
order by w.id desc
limit 1 offset :looked_at

-- name: list_workflows_page
select w.project_id, w.id, w.slug, w.name, w.description, w.tags, w.version, w.created_at, w.updated_at,
  w.deleted_at
from workflows as w
where w.project_id = :project_id and w.id < :before and w.id >= :floor and w.deleted_at is null
order by w.id desc
limit :most

-- name: list_workflow_runs_floor
-- The id at which a bounded look from :before downward ends; nothing if the project ends earlier.
select r.id from workflow_runs as r
where r.project_id = :project_id and r.id < :before
order by r.id desc
limit 1 offset :looked_at

-- name: list_workflow_runs_page
-- Newest first along the primary key. A filter that is null lets everything pass.
select r.id from workflow_runs as r
where r.project_id = :project_id and r.id < :before and r.id >= :floor
  and (cast(:status as text) is null or r.status = :status)
  and (cast(:tag_text as text) is null or replace(r.tags, :tag_text, '') <> r.tags)
order by r.id desc
limit :most

-- name: list_workflow_runs_of_workflow_floor
select r.id from workflow_runs as r
where r.project_id = :project_id
  and (r.workflow_id, r.id) < (:workflow_id, :before) and (r.workflow_id, r.id) >= (:workflow_id, '')
order by r.workflow_id desc, r.id desc
limit 1 offset :looked_at

-- name: list_workflow_runs_of_workflow_page
-- The same along the index on workflows. What lies between two places of one workflow is that workflow's:
-- with an equality beside it, the primary key would look as good.
select r.id from workflow_runs as r
where r.project_id = :project_id
  and (r.workflow_id, r.id) < (:workflow_id, :before) and (r.workflow_id, r.id) >= (:workflow_id, :floor)
  and (cast(:status as text) is null or r.status = :status)
  and (cast(:tag_text as text) is null or replace(r.tags, :tag_text, '') <> r.tags)
order by r.workflow_id desc, r.id desc
limit :most

-- name: list_workflow_runs_of_parent_page
-- The sub-workflows of one run, which are few: all of them, sorted.
select r.id from workflow_runs as r
where r.project_id = :project_id and r.parent_run_id is not null
  and r.parent_run_id >= :parent_run_id and r.parent_run_id <= :parent_run_id
  and r.id < :before and r.id >= :floor
  and (cast(:workflow_id as text) is null or r.workflow_id = :workflow_id)
  and (cast(:status as text) is null or r.status = :status)
  and (cast(:tag_text as text) is null or replace(r.tags, :tag_text, '') <> r.tags)
order by r.parent_run_id desc, r.id desc
limit :most

-- name: steps_of_workflow_run
select s.project_id, s.workflow_run_id, s.step, s.id, s.step_ref, s.step_type, s.version, s.status,
  s.attempt, s.output, s.output_id, s.error, s.votes, s.run_id, s.child_run_id, s.wait_group_id,
  s.created_at, s.started_at, s.finished_at, s.last_fact_id
from steps as s
where s.project_id = :project_id and s.workflow_run_id = :workflow_run_id
order by s.step

-- name: due_workflow_runs
-- Those with a limit of time, in the order in which it is over.
select r.project_id, r.id, r.due_at, length(r.steps) as steps from workflow_runs as r
where r.due_at is not null
order by r.due_at, r.project_id, r.id
limit :most
