-- What retention looks for. A look goes on from an id over :most rows of a project, in order, and says of each
-- whether it may go: what has to stay is passed once, not again by every commit.

-- name: projects_from
select p.id from projects as p where p.id >= :project_id order by p.id limit :most

-- name: old_triggers
-- A trigger is settled after it was made, so ids from before the bound are all that can match.
select t.id, t.status <> 'waiting' and t.settled_at < :before
  and coalesce(t.notify_status, '') <> 'pending'
  and not exists (select 1 from roots as r
    where r.project_id = t.project_id and r.id = t.root_id and r.ended_at is null)
  and not exists (select 1 from runs as n
    where n.project_id = t.project_id and n.wait_group_id = t.wait_group_id
      and n.replay_of is not null and n.finished_at is null) as may_go
from triggers as t
where t.project_id = :project_id and t.id > :after_id and t.id < :before_id
order by t.id
limit :most

-- name: wait_groups_of_triggers
-- A trigger's wait group never changes, so that what is to be looked at with it can be read before.
select distinct t.project_id, t.wait_group_id
from @input(project_id text, id text) as i
cross join triggers as t
where t.project_id = i.project_id and t.id = i.id and t.wait_group_id is not null

-- name: old_runs
-- A run ends after it was made, so ids from before the bound are all that can match. One that a workflow run
-- started stays as long as that lives.
select r.id, r.finished_at < :before and (r.workflow_run_id is null or not exists (select 1 from roots as o
    where o.project_id = r.project_id and o.id = r.root_id and o.ended_at is null)) as may_go
from runs as r
where r.project_id = :project_id and r.id > :after_id and r.id < :before_id
order by r.id
limit :most

-- name: old_workflow_runs
-- The same for workflow runs, with how many rows of steps may go with one.
select r.id, r.finished_at < :before as may_go, length(r.steps)
from workflow_runs as r
where r.project_id = :project_id and r.id > :after_id and r.id < :before_id
order by r.id
limit :most

-- name: outputs_of_workflow_runs
-- What has ended never changes, so that the payloads that are to be released with it can be read before.
select s.project_id, s.workflow_run_id, s.output_id
from @input(project_id text, workflow_run_id text) as i
cross join steps as s
where s.project_id = i.project_id and s.workflow_run_id = i.workflow_run_id and s.output_id is not null

-- name: old_deliveries
select d.id, d.finished_at < :before as may_go
from deliveries as d
where d.project_id = :project_id and d.id > :after_id and d.id < :before_id
order by d.id
limit :most
