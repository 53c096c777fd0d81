-- What retention looks for.

-- name: prunable_triggers
-- A trigger is settled after it was made, so ids from before the bound are all that can match.
select t.project_id, t.id
from projects as p
cross join triggers as t
where t.project_id = p.id and t.id < :below_id
  and t.status <> 'waiting' and t.settled_at < :settled_before
  and not exists (select 1 from roots as r
    where r.project_id = t.project_id and r.id = t.root_id and r.ended_at is null)
limit :limit
