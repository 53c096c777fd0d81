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
