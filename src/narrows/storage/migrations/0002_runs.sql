-- Jobs, runs, what runs wait for, deliveries, messages. Conventions as in 0001.

-- A project's own signing secrets (encrypted), for its deliveries.
alter table projects add column signing_secrets text;

alter table triggers add column notify_url text;
alter table triggers add column notify_status text;

create table jobs (
  project_id text not null,
  id text not null,
  slug text not null,
  name text,
  description text,
  endpoint_url text,
  timeout_secs integer not null,
  max_attempts integer not null,
  max_concurrency integer,
  tags text,
  signing_secrets text not null,
  version integer not null,
  created_at integer not null,
  updated_at integer not null,
  deleted_at integer,
  primary key (project_id, id)
) without rowid;
-- A slug is unique among the jobs that are there; a deleted job gives it up.
create unique index jobs_slug on jobs (project_id, slug) where deleted_at is null;

create table runs (
  project_id text not null,
  id text not null,
  job_id text not null,
  version integer not null,
  status text not null check (status in ('delayed', 'queued', 'executing', 'waiting', 'completed',
    'failed', 'timed_out', 'canceled', 'dead_letter')),
  priority integer not null,
  attempt integer not null,
  dispatch integer not null,
  timeout_secs integer not null,
  max_attempts integer not null,
  root_id text not null,
  workflow_run_id text,
  workflow_step_run_id text,
  payload text,
  payload_id text,
  result text,
  result_id text,
  state text,
  state_id text,
  error text,
  tags text,
  progress text,
  holder text,
  wait_group_id text,
  replay_of text,
  created_by text,
  created_at integer not null,
  scheduled_at integer,
  due_at integer,
  dispatched_at integer,
  finished_at integer,
  last_fact_id text,
  -- Room for what the life of a run adds, given back when it is dispatched (see triggers.room).
  room blob default (zeroblob(160)),
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
  project_id text not null,
  job_id text not null,
  writer text not null,
  delayed integer not null default 0,
  queued integer not null default 0,
  executing integer not null default 0,
  waiting integer not null default 0,
  completed integer not null default 0,
  failed integer not null default 0,
  timed_out integer not null default 0,
  canceled integer not null default 0,
  dead_letter integer not null default 0,
  primary key (project_id, job_id, writer)
) without rowid;

-- Who waits for the group, and what it does when the wait ends without the event.
alter table wait_groups add column run_id text not null default '';
alter table wait_groups add column trigger_ids text not null default '[]';
alter table wait_groups add column on_timeout text not null default 'end'
  check (on_timeout in ('end', 'resume'));
alter table wait_groups add column on_cancel text not null default 'end'
  check (on_cancel in ('end', 'resume'));
alter table wait_groups add column created_at integer not null default 0;

-- The first answer to the call that ended a dispatch.
create table run_answers (
  project_id text not null,
  run_id text not null,
  dispatch integer not null,
  call text not null,
  body_hash text not null,
  reply text not null,
  answered_at integer not null,
  primary key (project_id, run_id, dispatch)
) without rowid;

create table deliveries (
  project_id text not null,
  id text not null,
  trigger_id text not null,
  kind text not null check (kind in ('trigger.opened', 'trigger.settled')),
  url text not null,
  status text not null check (status in ('pending', 'delivered', 'failed')),
  attempts integer not null,
  last_status integer,
  error text,
  created_at integer not null,
  due_at integer,
  finished_at integer,
  check ((status = 'pending') = (due_at is not null)),
  primary key (project_id, id)
);
-- What is to be tried next. Partial: what is over is in it no more.
create index deliveries_due on deliveries (due_at, project_id, id) where due_at is not null;
-- Cold: they go with their trigger.
create index deliveries_trigger on deliveries (project_id, trigger_id);

create table messages (
  project_id text not null,
  id text not null,
  kind text not null,
  subject_id text not null,
  cursor text,
  hops integer not null,
  created_at integer not null,
  primary key (project_id, id)
) without rowid;
