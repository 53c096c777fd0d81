-- The first schema, the same tables as SQLite's. Times are integers, microseconds since the epoch; ids
-- are UUIDv7 in text; payloads are text, exactly as they were sent (compacted), never re-encoded.
-- Text is compared byte by byte (collate "C"), whatever the database's locale is: prefixes, pages and
-- the order of locks rely on it.
--
-- Every table and every unique index that a project's data needs begins with project_id, so that
-- projects can be spread over several databases. (Credentials, callback tokens, stream tokens and
-- idempotency records are found by a hash before the project is known.)
--
-- Each index on a hot table costs as much as the row, so each is argued for.

create table projects (
  id text collate "C" not null primary key,
  name text collate "C",
  created_at bigint not null,
  signing_secrets text collate "C"
);

create table api_keys (
  id text collate "C" not null primary key,
  project_id text collate "C",
  name text collate "C",
  scopes text collate "C" not null,
  secret_hash text collate "C" not null,
  created_at bigint not null,
  expires_at bigint,
  revoked_at bigint,
  created_by text collate "C",
  replaced_by text collate "C"
);
-- Cold: to list a project's keys.
create index api_keys_project on api_keys (project_id, id);

-- What a waiter belongs to. A client's wait is its own root and has no row here. A root that has
-- not ended keeps its triggers from purge and retention.
create table roots (
  project_id text collate "C" not null,
  id text collate "C" not null,
  kind text collate "C" not null check (kind in ('run', 'workflow_run')),
  created_at bigint not null,
  ended_at bigint,
  primary key (project_id, id)
);

-- A waiter waits on one group of one to many triggers: any, all, or count of them.
create table wait_groups (
  project_id text collate "C" not null,
  id text collate "C" not null,
  root_id text collate "C" not null,
  mode text collate "C" not null check (mode in ('any', 'all', 'count')),
  needed bigint not null,
  run_id text collate "C" not null,
  trigger_ids text collate "C" not null,
  on_timeout text collate "C" not null check (on_timeout in ('end', 'resume')),
  on_cancel text collate "C" not null check (on_cancel in ('end', 'resume')),
  created_at bigint not null,
  primary key (project_id, id)
);

create table triggers (
  project_id text collate "C" not null,
  id text collate "C" not null,
  event_key text collate "C" not null,
  ordinal bigint not null,
  version bigint not null,
  trigger_type text collate "C" not null check (trigger_type in ('event', 'sleep', 'approval')),
  source_type text collate "C" not null check (source_type in ('workflow_step', 'job_run')),
  status text collate "C" not null check (status in ('waiting', 'received', 'timed_out', 'canceled')),
  root_id text collate "C",
  wait_group_id text collate "C",
  workflow_run_id text collate "C",
  workflow_step_run_id text collate "C",
  job_run_id text collate "C",
  waiter text collate "C",
  name text collate "C",
  tags text collate "C",
  request_payload text collate "C",
  request_payload_id text collate "C",
  response_payload text collate "C",
  response_payload_id text collate "C",
  expected_schema_id text collate "C",
  timeout_secs bigint not null,
  requested_at bigint not null,
  expires_at bigint not null,
  received_at bigint,
  settled_at bigint,
  error text collate "C",
  sent_by text collate "C",
  opened_by text collate "C",
  last_fact_id text collate "C",
  notify_url text collate "C",
  notify_status text collate "C",
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
  project_id text collate "C" not null,
  name text collate "C" not null,
  value text collate "C" not null,
  trigger_id text collate "C" not null,
  primary key (project_id, name, value, trigger_id)
);

-- Payloads over 1 KiB and expected schemas: one row each, named by the trigger or held event, so
-- that a trigger's row stays small and a send rewrites one page.
create table payloads (
  project_id text collate "C" not null,
  id text collate "C" not null,
  body text collate "C" not null,
  holders bigint not null,
  primary key (project_id, id)
);

-- What happened, append-only, clustered by id, which is time: an append touches the last page only.
-- The timeline of a trigger is the chain last_fact_id -> previous_id; an index by subject would
-- dirty one more random page per send.
create table facts (
  project_id text collate "C" not null,
  id text collate "C" not null,
  kind text collate "C" not null,
  subject_id text collate "C" not null,
  root_id text collate "C",
  previous_id text collate "C",
  actor text collate "C",
  version bigint,
  at bigint not null,
  detail text collate "C",
  primary key (project_id, id)
);

create table held_events (
  project_id text collate "C" not null,
  id text collate "C" not null,
  event_key text collate "C" not null,
  event_id text collate "C",
  status text collate "C" not null check (status in ('held', 'delivered')),
  payload text collate "C",
  payload_id text collate "C",
  held_at bigint not null,
  held_until bigint not null,
  trigger_id text collate "C",
  sent_by text collate "C",
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
  token_hash text collate "C" not null primary key,
  id text collate "C" not null,
  project_id text collate "C" not null,
  trigger_id text collate "C" not null,
  created_at bigint not null
);
-- Cold: they go with their trigger.
create index callback_urls_trigger on callback_urls (project_id, trigger_id);

create table stream_tokens (
  token_hash text collate "C" not null primary key,
  project_id text collate "C" not null,
  trigger_id text collate "C" not null,
  api_key_id text collate "C",
  created_at bigint not null,
  opened_at bigint
);
-- They live for an hour.
create index stream_tokens_created on stream_tokens (created_at);

create table idempotency_records (
  scope_hash text collate "C" not null primary key,
  project_id text collate "C" not null,
  body_hash text collate "C" not null,
  status bigint not null,
  trigger_id text collate "C",
  reply text collate "C",
  secret_id text collate "C",
  created_at bigint not null
);
-- They live for 24 hours.
create index idempotency_records_created on idempotency_records (created_at);

create table unmatched_events (
  project_id text collate "C" not null,
  id text collate "C" not null,
  event_key text collate "C" not null,
  reason text collate "C" not null,
  trigger_id text collate "C",
  late_us bigint,
  detail text collate "C",
  sent_by text collate "C",
  arrived_at bigint not null,
  primary key (project_id, id)
);
-- "What arrived under this key?" is the first question of whoever waits in vain. Written by a role,
-- off the path of the send.
create index unmatched_events_key on unmatched_events (project_id, event_key, id);

-- Statistics: one row per project and writer, summed on reading, changed in the same commit.
create table counters (
  project_id text collate "C" not null,
  writer text collate "C" not null,
  waiting bigint not null default 0,
  received bigint not null default 0,
  timed_out bigint not null default 0,
  canceled bigint not null default 0,
  wait_us bigint not null default 0,
  held bigint not null default 0,
  primary key (project_id, writer)
);

-- Persisted lower bounds of the engine's roles.
create table marks (
  name text collate "C" not null primary key,
  value bigint not null
);

-- Jobs, runs, what runs wait for, deliveries, messages. Conventions as in 0001.

create table jobs (
  project_id text collate "C" not null,
  id text collate "C" not null,
  slug text collate "C" not null,
  name text collate "C",
  description text collate "C",
  endpoint_url text collate "C",
  timeout_secs bigint not null,
  max_attempts bigint not null,
  max_concurrency bigint,
  tags text collate "C",
  signing_secrets text collate "C" not null,
  version bigint not null,
  created_at bigint not null,
  updated_at bigint not null,
  deleted_at bigint,
  primary key (project_id, id)
);
-- A slug is unique among the jobs that are there; a deleted job gives it up.
create unique index jobs_slug on jobs (project_id, slug) where deleted_at is null;

create table runs (
  project_id text collate "C" not null,
  id text collate "C" not null,
  job_id text collate "C" not null,
  version bigint not null,
  status text collate "C" not null check (status in ('delayed', 'queued', 'executing', 'waiting', 'completed',
    'failed', 'timed_out', 'canceled', 'dead_letter')),
  priority bigint not null,
  attempt bigint not null,
  dispatch bigint not null,
  timeout_secs bigint not null,
  max_attempts bigint not null,
  root_id text collate "C" not null,
  workflow_run_id text collate "C",
  workflow_step_run_id text collate "C",
  payload text collate "C",
  payload_id text collate "C",
  result text collate "C",
  result_id text collate "C",
  state text collate "C",
  state_id text collate "C",
  error text collate "C",
  tags text collate "C",
  progress text collate "C",
  holder text collate "C",
  wait_group_id text collate "C",
  replay_of text collate "C",
  created_by text collate "C",
  created_at bigint not null,
  scheduled_at bigint,
  due_at bigint,
  dispatched_at bigint,
  finished_at bigint,
  last_fact_id text collate "C",
  check ((status in ('completed', 'failed', 'timed_out', 'canceled', 'dead_letter'))
    = (finished_at is not null)),
  check ((status in ('delayed', 'executing')) = (due_at is not null)),
  primary key (project_id, id)
);
-- The queue: the highest priority first, then the oldest run, so that what has begun goes on before
-- what is new. Partial: it holds what is queued only, and a claim reads its head.
create index runs_queue on runs (project_id, job_id, priority desc, id) where status = 'queued';
-- Due times of delayed runs and of leases. Partial: a waiting run is due by its triggers.
create index runs_due on runs (due_at, project_id, id) where due_at is not null;
-- Partial, and seldom has a row: a live replay keeps purge from the triggers of the wait that it goes on from.
create index runs_replays on runs (project_id, wait_group_id)
  where replay_of is not null and finished_at is null;

create table run_counters (
  project_id text collate "C" not null,
  job_id text collate "C" not null,
  writer text collate "C" not null,
  delayed bigint not null default 0,
  queued bigint not null default 0,
  executing bigint not null default 0,
  waiting bigint not null default 0,
  completed bigint not null default 0,
  failed bigint not null default 0,
  timed_out bigint not null default 0,
  canceled bigint not null default 0,
  dead_letter bigint not null default 0,
  primary key (project_id, job_id, writer)
);

-- The first answer to the call that ended a dispatch.
create table run_answers (
  project_id text collate "C" not null,
  run_id text collate "C" not null,
  dispatch bigint not null,
  call text collate "C" not null,
  body_hash text collate "C" not null,
  reply text collate "C" not null,
  answered_at bigint not null,
  primary key (project_id, run_id, dispatch)
);

create table deliveries (
  project_id text collate "C" not null,
  id text collate "C" not null,
  trigger_id text collate "C" not null,
  kind text collate "C" not null check (kind in ('trigger.opened', 'trigger.settled')),
  url text collate "C" not null,
  status text collate "C" not null check (status in ('pending', 'delivered', 'failed')),
  attempts bigint not null,
  last_status bigint,
  error text collate "C",
  created_at bigint not null,
  due_at bigint,
  finished_at bigint,
  check ((status = 'pending') = (due_at is not null)),
  primary key (project_id, id)
);
-- What is to be tried next. Partial: what is over is in it no more.
create index deliveries_due on deliveries (due_at, project_id, id) where due_at is not null;
-- Cold: they go with their trigger.
create index deliveries_trigger on deliveries (project_id, trigger_id);

create table messages (
  project_id text collate "C" not null,
  id text collate "C" not null,
  kind text collate "C" not null,
  subject_id text collate "C" not null,
  cursor text collate "C",
  hops bigint not null,
  created_at bigint not null,
  primary key (project_id, id)
);


-- What only several nodes need.

-- Who serves this database. A node renews seen_at; one that has not done so for its lease is gone and
-- its slot is free. Its slot names its rows in the counters, so that nodes share no hot row.
create table nodes (
  id text collate "C" not null primary key,
  slot bigint not null unique,
  name text collate "C" not null,
  version text collate "C" not null,
  started_at bigint not null,
  seen_at bigint not null
);

-- A row of each batch, written with its commit. Whether a commit whose answer never came took place is
-- found out by inserting the same id again: it waits for the other transaction, then it is refused or not.
create table batches (
  id text collate "C" not null primary key,
  at bigint not null
);
create index batches_at on batches (at);

-- What the nodes of an installation agree on: fingerprints of their secret keys.
create table installation (
  name text collate "C" not null,
  value text collate "C" not null,
  primary key (name, value)
);

-- Rows that are updated in place: room on their pages keeps the new version there, and as none of the
-- changed columns is indexed, no index is written (HOT). Counters are rewritten by every commit.
alter table triggers set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
alter table runs set (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);
alter table counters set (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
alter table run_counters set (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
alter table marks set (fillfactor = 10);
alter table nodes set (fillfactor = 10);
