-- What retention looks for.

-- name: prunable_triggers
-- A trigger is settled after it was made, so ids from before the bound are all that can match.
select t.project_id, t.id
from projects as p
cross join triggers as t
where t.project_id = p.id and t.id < :below_id
  and t.status <> 'waiting' and t.settled_at < :settled_before
  and coalesce(t.notify_status, '') <> 'pending'
  and not exists (select 1 from roots as r
    where r.project_id = t.project_id and r.id = t.root_id and r.ended_at is null)
  and not exists (select 1 from runs as n
    where n.project_id = t.project_id and n.wait_group_id = t.wait_group_id
      and n.replay_of is not null and n.finished_at is null)
limit :limit

-- name: wait_groups_of_triggers
-- A trigger's wait group never changes, so that what is to be looked at with it can be read before.
select distinct t.project_id, t.wait_group_id
from @input(project_id text, id text) as i
cross join triggers as t
where t.project_id = i.project_id and t.id = i.id and t.wait_group_id is not null

-- name: prunable_runs
-- A run ends after it was made, so ids from before the bound are all that can match.
select r.project_id, r.id
from projects as p
cross join runs as r
where r.project_id = p.id and r.id < :below_id and r.finished_at < :finished_before
limit :limit

-- name: old_deliveries
select d.project_id, d.id
from projects as p
cross join deliveries as d
where d.project_id = p.id and d.id < :before_id and d.finished_at < :before
limit :most
