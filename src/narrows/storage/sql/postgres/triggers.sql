-- Triggers, where PostgreSQL says it otherwise.

-- name: triggers_by_key
-- The newest wait under each key, by one descent of the keys' index.
select t.project_id, t.id, t.event_key, t.ordinal, t.version, t.trigger_type, t.source_type,
  t.status, t.root_id, t.wait_group_id, t.workflow_run_id, t.workflow_step_run_id, t.job_run_id,
  t.waiter, t.name, t.tags, t.request_payload, t.request_payload_id, t.response_payload,
  t.response_payload_id, t.expected_schema_id, t.timeout_secs, t.requested_at, t.expires_at,
  t.received_at, t.settled_at, t.error, t.sent_by, t.opened_by, t.last_fact_id, t.notify_url,
  t.notify_status, t.ballot
from @input(project_id text, event_key text) as i
cross join lateral (
  select n.* from triggers as n
  where n.project_id = i.project_id and n.event_key = i.event_key
  order by n.ordinal desc
  limit 1) as t

-- name: look_by_key
-- The same, and the place of the row that was seen.
select t.project_id, t.id, t.event_key, t.ordinal, t.version, t.trigger_type, t.source_type,
  t.status, t.root_id, t.wait_group_id, t.workflow_run_id, t.workflow_step_run_id, t.job_run_id,
  t.waiter, t.name, t.tags, t.request_payload, t.request_payload_id, t.response_payload,
  t.response_payload_id, t.expected_schema_id, t.timeout_secs, t.requested_at, t.expires_at,
  t.received_at, t.settled_at, t.error, t.sent_by, t.opened_by, t.last_fact_id, t.notify_url,
  t.notify_status, t.ballot, cast(t.ctid as text) as place
from @input(project_id text, event_key text) as i
cross join lateral (
  select n.*, n.ctid from triggers as n
  where n.project_id = i.project_id and n.event_key = i.event_key
  order by n.ordinal desc
  limit 1) as t

-- name: look_by_id
select t.project_id, t.id, t.event_key, t.ordinal, t.version, t.trigger_type, t.source_type,
  t.status, t.root_id, t.wait_group_id, t.workflow_run_id, t.workflow_step_run_id, t.job_run_id,
  t.waiter, t.name, t.tags, t.request_payload, t.request_payload_id, t.response_payload,
  t.response_payload_id, t.expected_schema_id, t.timeout_secs, t.requested_at, t.expires_at,
  t.received_at, t.settled_at, t.error, t.sent_by, t.opened_by, t.last_fact_id, t.notify_url,
  t.notify_status, t.ballot, cast(t.ctid as text) as place
from @input(project_id text, id text) as i
cross join triggers as t
where t.project_id = i.project_id and t.id = i.id

-- name: settle_looked_triggers
-- What was only read (`looked.py`) is found at its place, by no index. If it was changed meanwhile, it is not there any
-- more, and nothing is settled. The version and how its delivery stands, which has none, say the same: who has waited for
-- another transaction does not compare the place again where PostgreSQL lacks a repair of 2025 ("Add missing EPQ
-- recheck for TID Scan").
update triggers
set version = i.version, status = i.status, response_payload = i.response_payload,
  response_payload_id = i.response_payload_id, received_at = i.received_at,
  settled_at = i.settled_at, error = i.error, sent_by = i.sent_by, last_fact_id = i.last_fact_id
from @input(project_id text, id text, version integer, status text, response_payload text,
  response_payload_id text, received_at integer, settled_at integer, error text, sent_by text,
  last_fact_id text, notify_status text, place tid) as i
where triggers.ctid = i.place and triggers.project_id = i.project_id and triggers.id = i.id and triggers.status = 'waiting'
  and triggers.version < i.version and triggers.notify_status is not distinct from i.notify_status
