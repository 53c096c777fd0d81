-- Held events: the columns stand in the order of core.records.HeldEvent.

-- name: held_by_key
-- What is held for each key, first come first.
select h.project_id, h.id, h.event_key, h.event_id, h.status, h.payload, h.payload_id, h.held_at,
  h.held_until, h.trigger_id, h.sent_by, h.hops
from @input(project_id text, event_key text) as i
cross join held_events as h
where h.project_id = i.project_id and h.event_key = i.event_key and h.status = 'held'
order by h.project_id, h.event_key, h.id

-- name: held_tally_by_key
-- How many are held for each key: counted in the index alone. What is past its time counts until its
-- role has deleted it, as in the project's count.
select i.project_id, i.event_key,
  (select count(*) from held_events as h
   where h.project_id = i.project_id and h.event_key = i.event_key and h.status = 'held') as held
from @input(project_id text, event_key text) as i

-- name: held_by_event_id
select h.project_id, h.id, h.event_key, h.event_id, h.status, h.payload, h.payload_id, h.held_at,
  h.held_until, h.trigger_id, h.sent_by, h.hops
from @input(project_id text, event_key text, event_id text) as i
cross join held_events as h
where h.project_id = i.project_id and h.event_key = i.event_key and h.event_id = i.event_id

-- name: held_by_id
select h.project_id, h.id, h.event_key, h.event_id, h.status, h.payload, h.payload_id, h.held_at,
  h.held_until, h.trigger_id, h.sent_by, h.hops
from @input(project_id text, id text) as i
cross join held_events as h
where h.project_id = i.project_id and h.id = i.id

-- name: insert_held_events
insert into held_events (project_id, id, event_key, event_id, status, payload, payload_id, held_at,
  held_until, trigger_id, sent_by, hops)
select project_id, id, event_key, event_id, status, payload, payload_id, held_at, held_until,
  trigger_id, sent_by, hops
from @input(project_id text, id text, event_key text, event_id text, status text, payload text,
  payload_id text, held_at integer, held_until integer, trigger_id text, sent_by text, hops integer)

-- name: deliver_held_events
update held_events set status = i.status, trigger_id = i.trigger_id, payload = null, payload_id = null
from @input(project_id text, id text, status text, trigger_id text) as i
where held_events.project_id = i.project_id and held_events.id = i.id and held_events.status = 'held'

-- name: delete_held_events
delete from held_events
where (project_id, id) in (select i.project_id, i.id from @input(project_id text, id text) as i)

-- name: insert_unmatched_events
insert into unmatched_events (project_id, id, event_key, reason, trigger_id, late_us, detail,
  sent_by, arrived_at)
select project_id, id, event_key, reason, trigger_id, late_us, detail, sent_by, arrived_at
from @input(project_id text, id text, event_key text, reason text, trigger_id text,
  late_us integer, detail text, sent_by text, arrived_at integer)

-- name: delete_unmatched_events
delete from unmatched_events
where (project_id, id) in (select i.project_id, i.id from @input(project_id text, id text) as i)
