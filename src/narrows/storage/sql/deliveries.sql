-- Deliveries: the columns stand in the order of core.run_records.Delivery.

-- name: deliveries_by_id
select d.project_id, d.id, d.trigger_id, d.kind, d.url, d.status, d.attempts, d.last_status, d.error,
  d.created_at, d.due_at, d.finished_at
from @input(project_id text, id text) as i
cross join deliveries as d
where d.project_id = i.project_id and d.id = i.id

-- name: insert_deliveries
insert into deliveries (project_id, id, trigger_id, kind, url, status, attempts, last_status, error, created_at, due_at,
  finished_at)
select project_id, id, trigger_id, kind, url, status, attempts, last_status, error, created_at, due_at,
  finished_at
from @input(project_id text, id text, trigger_id text, kind text, url text, status text, attempts integer,
  last_status integer, error text, created_at integer, due_at integer, finished_at integer)

-- name: update_deliveries
update deliveries
set status = i.status, attempts = i.attempts, last_status = i.last_status, error = i.error,
  due_at = i.due_at, finished_at = i.finished_at
from @input(project_id text, id text, status text, attempts integer, last_status integer, error text,
  due_at integer, finished_at integer) as i
where deliveries.project_id = i.project_id and deliveries.id = i.id

-- name: delete_deliveries
delete from deliveries
where (project_id, id) in (select i.project_id, i.id from @input(project_id text, id text) as i)
  and status <> 'pending'

-- name: delete_deliveries_of_triggers
delete from deliveries
where (project_id, trigger_id) in (select i.project_id, i.trigger_id
  from @input(project_id text, trigger_id text) as i)

-- name: note_deliveries
-- How a trigger's newest delivery stands: no change of the trigger itself, so its version stays.
update triggers set notify_status = i.notify_status
from @input(project_id text, id text, notify_status text) as i
where triggers.project_id = i.project_id and triggers.id = i.id
