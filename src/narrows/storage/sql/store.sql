-- What the store itself asks.

-- name: last_stamp
-- The newest stamp: every change leaves a fact, and fact ids rise with the stamps.
select max(at) from (select (select f.at from facts as f where f.project_id = p.id
  order by f.id desc limit 1) as at from projects as p) as newest
