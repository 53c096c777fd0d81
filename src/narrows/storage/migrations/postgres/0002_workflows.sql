-- additive
-- Workflows, their runs and steps. Conventions as in 0001.

create table workflows (
  project_id text collate "C" not null,
  id text collate "C" not null,
  slug text collate "C" not null,
  name text collate "C",
  description text collate "C",
  tags text collate "C",
  version bigint not null,
  created_at bigint not null,
  updated_at bigint not null,
  deleted_at bigint,
  primary key (project_id, id)
);
-- A slug is unique among the workflows that are there; a deleted one gives it up.
create unique index workflows_slug on workflows (project_id, slug) where deleted_at is null;

-- Never changed, and there as long as its workflow's row: a run keeps the version that it was started with.
create table workflow_versions (
  project_id text collate "C" not null,
  workflow_id text collate "C" not null,
  version bigint not null,
  definition text collate "C" not null,
  created_at bigint not null,
  primary key (project_id, workflow_id, version)
);

-- `steps` has a letter for each step: the states of all, in the row that every change of the root writes
-- anyway. None of the columns that an advance changes is indexed but for `due_at`, which changes at the end.
create table workflow_runs (
  project_id text collate "C" not null,
  id text collate "C" not null,
  workflow_id text collate "C" not null,
  workflow_version bigint not null,
  version bigint not null,
  status text collate "C" not null check (status in ('running', 'paused', 'completed', 'failed', 'timed_out',
    'canceled')),
  steps text collate "C" not null,
  payload text collate "C",
  payload_id text collate "C",
  error text collate "C",
  tags text collate "C",
  parent_run_id text collate "C",
  parent_step bigint,
  depth bigint not null,
  hops bigint not null,
  retry_of text collate "C",
  created_by text collate "C",
  created_at bigint not null,
  due_at bigint,
  finished_at bigint,
  last_fact_id text collate "C",
  top_run_id text collate "C",
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
  project_id text collate "C" not null,
  workflow_run_id text collate "C" not null,
  step bigint not null,
  id text collate "C" not null,
  step_ref text collate "C" not null,
  step_type text collate "C" not null,
  version bigint not null,
  status text collate "C" not null check (status in ('pending', 'queued', 'running', 'waiting', 'delayed',
    'completed', 'failed', 'timed_out', 'skipped', 'canceled')),
  attempt bigint not null,
  output text collate "C",
  output_id text collate "C",
  error text collate "C",
  votes text collate "C",
  run_id text collate "C",
  child_run_id text collate "C",
  wait_group_id text collate "C",
  created_at bigint not null,
  started_at bigint,
  finished_at bigint,
  last_fact_id text collate "C",
  check ((status in ('completed', 'failed', 'timed_out', 'skipped', 'canceled')) = (finished_at is not null)),
  primary key (project_id, workflow_run_id, step)
);

create table workflow_run_counters (
  project_id text collate "C" not null,
  workflow_id text collate "C" not null,
  writer text collate "C" not null,
  running bigint not null default 0,
  paused bigint not null default 0,
  completed bigint not null default 0,
  failed bigint not null default 0,
  timed_out bigint not null default 0,
  canceled bigint not null default 0,
  primary key (project_id, workflow_id, writer)
);

-- The wait of a step: of which workflow run, and what else than a number of received triggers decides it.
alter table wait_groups add column workflow_run_id text collate "C";
alter table wait_groups add column distinct_by text collate "C";
alter table wait_groups add column has_veto bigint not null default 0;

-- What of an event counts where voters are told apart or a veto is asked: looked at once, when it comes.
alter table triggers add column ballot text collate "C";

-- How many workflow runs descend from the one that this is the root of: no more than so many may start. And how
-- many of a project go on.
alter table roots add column descendants bigint not null default 0;
alter table counters add column workflow_runs bigint not null default 0;

-- How many messages, one out of the other, led to an event.
alter table held_events add column hops bigint not null default 0;

-- What a message says; a payload that is too large for its row has one of its own.
alter table messages add column body text collate "C";
alter table messages add column payload text collate "C";
alter table messages add column payload_id text collate "C";

-- Rows that are updated in place, as in 0001.
alter table workflow_runs set (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);
alter table steps set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
alter table workflow_run_counters
  set (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
