-- The first schema. Times are integers, microseconds since the epoch; ids are UUIDv7 in text;
-- payloads are text, exactly as they were sent (compacted), never re-encoded.
--
-- Every table and every unique index that a project's data needs begins with project_id, so that
-- projects can be spread over several databases. (Credentials, callback tokens, stream tokens and
-- idempotency records are found by a hash before the project is known.)
--
-- Each index on a hot table costs as much as the row, so each is argued for.

create table projects (
  id text not null primary key,
  name text,
  created_at integer not null
) without rowid;

create table api_keys (
  id text not null primary key,
  project_id text,
  name text,
  scopes text not null,
  secret_hash text not null,
  created_at integer not null,
  expires_at integer,
  revoked_at integer,
  created_by text,
  replaced_by text
);
-- Cold: to list a project's keys.
create index api_keys_project on api_keys (project_id, id);

-- What a waiter belongs to. A client's wait is its own root and has no row here. A root that has
-- not ended keeps its triggers from purge and retention.
create table roots (
  project_id text not null,
  id text not null,
  kind text not null check (kind in ('run', 'workflow_run')),
  created_at integer not null,
  ended_at integer,
  primary key (project_id, id)
) without rowid;

-- A waiter waits on one group of one to many triggers: any, all, or count of them.
create table wait_groups (
  project_id text not null,
  id text not null,
  root_id text not null,
  mode text not null check (mode in ('any', 'all', 'count')),
  needed integer not null,
  primary key (project_id, id)
) without rowid;

create table triggers (
  project_id text not null,
  id text not null,
  event_key text not null,
  ordinal integer not null,
  version integer not null,
  trigger_type text not null check (trigger_type in ('event', 'sleep', 'approval')),
  source_type text not null check (source_type in ('workflow_step', 'job_run')),
  status text not null check (status in ('waiting', 'received', 'timed_out', 'canceled')),
  root_id text,
  wait_group_id text,
  workflow_run_id text,
  workflow_step_run_id text,
  job_run_id text,
  waiter text,
  name text,
  tags text,
  request_payload text,
  request_payload_id text,
  response_payload text,
  response_payload_id text,
  expected_schema_id text,
  timeout_secs integer not null,
  requested_at integer not null,
  expires_at integer not null,
  received_at integer,
  settled_at integer,
  error text,
  sent_by text,
  opened_by text,
  last_fact_id text,
  -- Room for what settling adds (payload, times, sender), given back then. Rows are appended, so pages
  -- are full: without it a send at a random place splits its page and writes four instead of one.
  -- (Measured: 690 KB of WAL for 40 random sends, 165 KB with it. PostgreSQL calls it fillfactor.)
  room blob default (zeroblob(128)),
  check ((status = 'waiting') = (settled_at is null)),
  check ((status = 'received') = (received_at is not null)),
  -- By id, and the list (newest first). A new row goes at the end of its project's range: the page
  -- is hot. A send does not change it.
  primary key (project_id, id)
);
-- By key: the newest wait under a key is the one with the highest ordinal, and only that one may be
-- waiting, so this one index is also what makes a waiting key unique. The usual partial unique
-- index "where status = 'waiting'" would be written to by every send; this one is written to by
-- the opening alone. Also serves prefix sends and near keys.
create unique index triggers_key on triggers (project_id, event_key, ordinal);
-- Due times. Not partial on the status, for the same reason; read from a moving lower bound
-- (marks: 'expire'), so settled rows below it are never looked at again.
create index triggers_due on triggers (expires_at, project_id, id);

-- Tags for the list's filter; only triggers that have tags cost anything here.
create table trigger_tags (
  project_id text not null,
  name text not null,
  value text not null,
  trigger_id text not null,
  primary key (project_id, name, value, trigger_id)
) without rowid;

-- Payloads over 1 KiB and expected schemas: one row each, named by the trigger or held event, so
-- that a trigger's row stays small and a send rewrites one page.
create table payloads (
  project_id text not null,
  id text not null,
  body text not null,
  holders integer not null,
  primary key (project_id, id)
) without rowid;

-- What happened, append-only, clustered by id, which is time: an append touches the last page only.
-- The timeline of a trigger is the chain last_fact_id -> previous_id; an index by subject would
-- dirty one more random page per send.
create table facts (
  project_id text not null,
  id text not null,
  kind text not null,
  subject_id text not null,
  root_id text,
  previous_id text,
  actor text,
  version integer,
  at integer not null,
  detail text,
  primary key (project_id, id)
) without rowid;

create table held_events (
  project_id text not null,
  id text not null,
  event_key text not null,
  event_id text,
  status text not null check (status in ('held', 'delivered')),
  payload text,
  payload_id text,
  held_at integer not null,
  held_until integer not null,
  trigger_id text,
  sent_by text,
  primary key (project_id, id)
);
-- First come, first delivered: the held events of a key in id order. Partial: delivered ones stay
-- only to refuse duplicates, and a key may collect many of them.
create index held_events_key on held_events (project_id, event_key, id) where status = 'held';
-- An event_id counts once per project and key.
create unique index held_events_event_id on held_events (project_id, event_key, event_id)
  where event_id is not null;
-- When they go.
create index held_events_due on held_events (held_until, project_id, id);

create table callback_urls (
  token_hash text not null primary key,
  id text not null,
  project_id text not null,
  trigger_id text not null,
  created_at integer not null
) without rowid;
-- Cold: they go with their trigger.
create index callback_urls_trigger on callback_urls (project_id, trigger_id);

create table stream_tokens (
  token_hash text not null primary key,
  project_id text not null,
  trigger_id text not null,
  api_key_id text,
  created_at integer not null,
  opened_at integer
) without rowid;
-- They live for an hour.
create index stream_tokens_created on stream_tokens (created_at);

create table idempotency_records (
  scope_hash text not null primary key,
  project_id text not null,
  body_hash text not null,
  status integer not null,
  trigger_id text,
  reply text,
  secret_id text,
  created_at integer not null
) without rowid;
-- They live for 24 hours.
create index idempotency_records_created on idempotency_records (created_at);

create table unmatched_events (
  project_id text not null,
  id text not null,
  event_key text not null,
  reason text not null,
  trigger_id text,
  late_us integer,
  detail text,
  sent_by text,
  arrived_at integer not null,
  primary key (project_id, id)
) without rowid;
-- "What arrived under this key?" is the first question of whoever waits in vain. Written by a role,
-- off the path of the send.
create index unmatched_events_key on unmatched_events (project_id, event_key, id);

-- Statistics: one row per project and writer, summed on reading, changed in the same commit.
create table counters (
  project_id text not null,
  writer text not null,
  waiting integer not null default 0,
  received integer not null default 0,
  timed_out integer not null default 0,
  canceled integer not null default 0,
  wait_us integer not null default 0,
  held integer not null default 0,
  primary key (project_id, writer)
) without rowid;

-- Persisted lower bounds of the engine's roles.
create table marks (
  name text not null primary key,
  value integer not null
) without rowid;
