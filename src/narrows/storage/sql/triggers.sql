-- Triggers: the columns stand in the order of core.records.Trigger.

-- name: triggers_by_key
-- The newest wait under each key.
select t.project_id, t.id, t.event_key, t.ordinal, t.version, t.trigger_type, t.source_type,
  t.status, t.root_id, t.wait_group_id, t.workflow_run_id, t.workflow_step_run_id, t.job_run_id,
  t.waiter, t.name, t.tags, t.request_payload, t.request_payload_id, t.response_payload,
  t.response_payload_id, t.expected_schema_id, t.timeout_secs, t.requested_at, t.expires_at,
  t.received_at, t.settled_at, t.error, t.sent_by, t.opened_by, t.last_fact_id, t.notify_url,
  t.notify_status, t.ballot
from @input(project_id text, event_key text) as i
cross join triggers as t
where t.project_id = i.project_id and t.event_key = i.event_key
  and t.ordinal = (select max(n.ordinal) from triggers as n
                   where n.project_id = i.project_id and n.event_key = i.event_key)

-- name: triggers_by_id
select t.project_id, t.id, t.event_key, t.ordinal, t.version, t.trigger_type, t.source_type,
  t.status, t.root_id, t.wait_group_id, t.workflow_run_id, t.workflow_step_run_id, t.job_run_id,
  t.waiter, t.name, t.tags, t.request_payload, t.request_payload_id, t.response_payload,
  t.response_payload_id, t.expected_schema_id, t.timeout_secs, t.requested_at, t.expires_at,
  t.received_at, t.settled_at, t.error, t.sent_by, t.opened_by, t.last_fact_id, t.notify_url,
  t.notify_status, t.ballot
from @input(project_id text, id text) as i
cross join triggers as t
where t.project_id = i.project_id and t.id = i.id

-- name: insert_triggers
insert into triggers (project_id, id, event_key, ordinal, version, trigger_type, source_type,
  status, root_id, wait_group_id, workflow_run_id, workflow_step_run_id, job_run_id, waiter, name,
  tags, request_payload, request_payload_id, response_payload, response_payload_id,
  expected_schema_id, timeout_secs, requested_at, expires_at, received_at, settled_at, error,
  sent_by, opened_by, last_fact_id, notify_url, notify_status, ballot)
select project_id, id, event_key, ordinal, version, trigger_type, source_type,
  status, root_id, wait_group_id, workflow_run_id, workflow_step_run_id, job_run_id, waiter, name,
  tags, request_payload, request_payload_id, response_payload, response_payload_id,
  expected_schema_id, timeout_secs, requested_at, expires_at, received_at, settled_at, error,
  sent_by, opened_by, last_fact_id, notify_url, notify_status, ballot
from @input(project_id text, id text, event_key text, ordinal integer, version integer,
  trigger_type text, source_type text, status text, root_id text, wait_group_id text,
  workflow_run_id text, workflow_step_run_id text, job_run_id text, waiter text, name text,
  tags text, request_payload text, request_payload_id text, response_payload text,
  response_payload_id text, expected_schema_id text, timeout_secs integer, requested_at integer,
  expires_at integer, received_at integer, settled_at integer, error text, sent_by text,
  opened_by text, last_fact_id text, notify_url text, notify_status text, ballot text)

-- name: settle_triggers
-- Touches no indexed column, so it rewrites the row's page and nothing else. The guard on the
-- status is a second wall: the rules have asked before.
update triggers
set version = i.version, status = i.status, response_payload = i.response_payload,
  response_payload_id = i.response_payload_id, received_at = i.received_at,
  settled_at = i.settled_at, error = i.error, sent_by = i.sent_by, last_fact_id = i.last_fact_id@room
from @input(project_id text, id text, version integer, status text, response_payload text,
  response_payload_id text, received_at integer, settled_at integer, error text, sent_by text,
  last_fact_id text) as i
where triggers.project_id = i.project_id and triggers.id = i.id and triggers.status = 'waiting'

-- name: settle_extended_triggers
-- Extended and settled in one commit: the due time, which is indexed, changes too.
update triggers
set version = i.version, status = i.status, response_payload = i.response_payload,
  response_payload_id = i.response_payload_id, received_at = i.received_at,
  settled_at = i.settled_at, error = i.error, sent_by = i.sent_by, last_fact_id = i.last_fact_id@room,
  timeout_secs = i.timeout_secs, expires_at = i.expires_at
from @input(project_id text, id text, version integer, status text, response_payload text,
  response_payload_id text, received_at integer, settled_at integer, error text, sent_by text,
  last_fact_id text, timeout_secs integer, expires_at integer) as i
where triggers.project_id = i.project_id and triggers.id = i.id and triggers.status = 'waiting'

-- name: cast_ballots
-- In the commit that settles them, a statement of its own: most events cast none.
update triggers set ballot = i.ballot
from @input(project_id text, id text, ballot text) as i
where triggers.project_id = i.project_id and triggers.id = i.id

-- name: extend_triggers
update triggers
set version = i.version, timeout_secs = i.timeout_secs, expires_at = i.expires_at,
  last_fact_id = i.last_fact_id
from @input(project_id text, id text, version integer, timeout_secs integer, expires_at integer,
  last_fact_id text) as i
where triggers.project_id = i.project_id and triggers.id = i.id and triggers.status = 'waiting'

-- name: delete_triggers
delete from triggers
where (project_id, id) in (select i.project_id, i.id from @input(project_id text, id text) as i)
  and status <> 'waiting'

-- name: delete_trigger_tags
delete from trigger_tags
where (project_id, name, value, trigger_id) in (select i.project_id, i.name, i.value, i.trigger_id
  from @input(project_id text, name text, value text, trigger_id text) as i)

-- name: insert_trigger_tags
insert into trigger_tags (project_id, name, value, trigger_id)
select project_id, name, value, trigger_id
from @input(project_id text, name text, value text, trigger_id text)

-- name: insert_payloads
insert into payloads (project_id, id, body, holders)
select project_id, id, body, holders
from @input(project_id text, id text, body text, holders integer)

-- name: release_payloads
-- One row per payload: how many rows named it and are gone.
update payloads set holders = payloads.holders - i.released
from @input(project_id text, id text, released integer) as i
where payloads.project_id = i.project_id and payloads.id = i.id

-- name: delete_released_payloads
delete from payloads
where (project_id, id) in (select i.project_id, i.id from @input(project_id text, id text) as i)
  and holders <= 0

-- name: payloads_by_id
select p.project_id, p.id, p.body, p.holders
from @input(project_id text, id text) as i
cross join payloads as p
where p.project_id = i.project_id and p.id = i.id

-- name: add_counters
insert into counters (project_id, writer, waiting, received, timed_out, canceled, wait_us, held, workflow_runs)
select project_id, writer, waiting, received, timed_out, canceled, wait_us, held, workflow_runs
from @input(project_id text, writer text, waiting integer, received integer, timed_out integer,
  canceled integer, wait_us integer, held integer, workflow_runs integer)
where true
on conflict (project_id, writer) do update set
  waiting = counters.waiting + excluded.waiting,
  received = counters.received + excluded.received,
  timed_out = counters.timed_out + excluded.timed_out,
  canceled = counters.canceled + excluded.canceled,
  wait_us = counters.wait_us + excluded.wait_us,
  held = counters.held + excluded.held,
  workflow_runs = counters.workflow_runs + excluded.workflow_runs

-- name: counters_by_project
select c.project_id, '' as writer, cast(sum(c.waiting) as bigint) as waiting, cast(sum(c.received) as bigint) as received,
  cast(sum(c.timed_out) as bigint) as timed_out, cast(sum(c.canceled) as bigint) as canceled, cast(sum(c.wait_us) as bigint) as wait_us,
  cast(sum(c.held) as bigint) as held, cast(sum(c.workflow_runs) as bigint) as workflow_runs
from @input(project_id text) as i
cross join counters as c
where c.project_id = i.project_id
group by c.project_id

-- name: roots_by_id
select r.project_id, r.id, r.kind, r.created_at, r.ended_at, r.descendants
from @input(project_id text, id text) as i
cross join roots as r
where r.project_id = i.project_id and r.id = i.id

-- name: insert_facts
insert into facts (project_id, id, kind, subject_id, root_id, previous_id, actor, version, at, detail)
select project_id, id, kind, subject_id, root_id, previous_id, actor, version, at, detail
from @input(project_id text, id text, kind text, subject_id text, root_id text, previous_id text,
  actor text, version integer, at integer, detail text)

-- name: insert_roots
insert into roots (project_id, id, kind, created_at, ended_at, descendants)
select project_id, id, kind, created_at, ended_at, descendants
from @input(project_id text, id text, kind text, created_at integer, ended_at integer, descendants integer)

-- name: delete_facts
delete from facts
where (project_id, id) in (select i.project_id, i.id from @input(project_id text, id text) as i)
