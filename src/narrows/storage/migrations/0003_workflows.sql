-- Workflows, their runs and steps. Conventions as in 0001.

create table workflows (
  project_id text not null,
  id text not null,
  slug text not null,
  name text,
  description text,
  tags text,
  version integer not null,
  created_at integer not null,
  updated_at integer not null,
  deleted_at integer,
  primary key (project_id, id)
) without rowid;
-- A slug is unique among the workflows that are there; a deleted one gives it up.
create unique index workflows_slug on workflows (project_id, slug) where deleted_at is null;

-- Never changed, and there as long as its workflow's row: a run keeps the version that it was started with.
create table workflow_versions (
  project_id text not null,
  workflow_id text not null,
  version integer not null,
  definition text not null,
  created_at integer not null,
  primary key (project_id, workflow_id, version)
);

-- `steps` has a letter for each step: the states of all, in the row that every change of the root writes
-- anyway. None of the columns that an advance changes is indexed but for `due_at`, which changes at the end.
create table workflow_runs (
  project_id text not null,
  id text not null,
  workflow_id text not null,
  workflow_version integer not null,
  version integer not null,
  status text not null check (status in ('running', 'paused', 'completed', 'failed', 'timed_out', 'canceled')),
  steps text not null,
  payload text,
  payload_id text,
  error text,
  tags text,
  parent_run_id text,
  parent_step integer,
  depth integer not null,
  hops integer not null,
  retry_of text,
  created_by text,
  created_at integer not null,
  due_at integer,
  finished_at integer,
  last_fact_id text,
  top_run_id text,
  -- Room for what its end adds (see triggers.room), given back to its page by the first advance.
  room blob default (zeroblob(96)),
  check ((status in ('completed', 'failed', 'timed_out', 'canceled')) = (finished_at is not null)),
  check (finished_at is null or due_at is null),
  primary key (project_id, id)
);
-- When their time is over. Partial: most have no limit, and what has ended is in it no more.
create index workflow_runs_due on workflow_runs (due_at, project_id, id) where due_at is not null;
-- The list of a workflow's runs, the newest first.
create index workflow_runs_workflow on workflow_runs (project_id, workflow_id, id);
-- The sub-workflows of a run. Partial: only those cost anything here.
create index workflow_runs_parent on workflow_runs (project_id, parent_run_id) where parent_run_id is not null;

-- A step has its row from its first start on, or from when it was skipped. All of one run lie together, in
-- their order.
create table steps (
  project_id text not null,
  workflow_run_id text not null,
  step integer not null,
  id text not null,
  step_ref text not null,
  step_type text not null,
  version integer not null,
  status text not null check (status in ('pending', 'queued', 'running', 'waiting', 'delayed', 'completed',
    'failed', 'timed_out', 'skipped', 'canceled')),
  attempt integer not null,
  output text,
  output_id text,
  error text,
  votes text,
  run_id text,
  child_run_id text,
  wait_group_id text,
  created_at integer not null,
  started_at integer,
  finished_at integer,
  last_fact_id text,
  -- Room for its output and its end (see triggers.room).
  room blob default (zeroblob(128)),
  check ((status in ('completed', 'failed', 'timed_out', 'skipped', 'canceled')) = (finished_at is not null)),
  primary key (project_id, workflow_run_id, step)
);

create table workflow_run_counters (
  project_id text not null,
  workflow_id text not null,
  writer text not null,
  running integer not null default 0,
  paused integer not null default 0,
  completed integer not null default 0,
  failed integer not null default 0,
  timed_out integer not null default 0,
  canceled integer not null default 0,
  primary key (project_id, workflow_id, writer)
) without rowid;

-- The wait of a step: of which workflow run, and what else than a number of received triggers decides it.
alter table wait_groups add column workflow_run_id text;
alter table wait_groups add column distinct_by text;
alter table wait_groups add column has_veto integer not null default 0;

-- What of an event counts where voters are told apart or a veto is asked: looked at once, when it comes.
alter table triggers add column ballot text;

-- How many workflow runs descend from the one that this is the root of: no more than so many may start. And how
-- many of a project go on.
alter table roots add column descendants integer not null default 0;
alter table counters add column workflow_runs integer not null default 0;

-- How many messages, one out of the other, led to an event.
alter table held_events add column hops integer not null default 0;

-- What a message says; a payload that is too large for its row has one of its own.
alter table messages add column body text;
alter table messages add column payload text;
alter table messages add column payload_id text;
