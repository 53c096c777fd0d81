-- The locks of a batch, in the declared order: advisory locks on names, then the rows of roots, then triggers,
-- deliveries, messages, limited jobs. Each statement takes its locks in the order of ids, so that two nodes
-- can wait for one another in a line, but never in a circle.

-- name: lock_roots
-- Resolves what the batch names to the roots that it belongs to (links never change): workflow runs, then runs,
-- also those of a workflow run, which a claim locks without their root. Locks those, then the triggers themselves.
-- Answers all of these as they are under their locks (what another changed before is read anew, unlike everything
-- else of a statement), their columns in the order of core's records; then what cannot have changed before them:
-- the root rows of what has not ended, the wait groups of triggers that are waiting. Then which trigger was the
-- newest of each key when this began; where there are workflow runs, which of the names given last were free to be
-- shared; and the time after the last lock.
with by_key as (
  select t.project_id, i.event_key, t.id, t.root_id, t.job_run_id
  from @input(project_id text, event_key text) as i
  cross join lateral (
    select n.project_id, n.id, n.root_id, n.job_run_id from triggers as n
    where n.project_id = i.project_id and n.event_key = i.event_key
    order by n.ordinal desc limit 1) as t
), ids as (
  select i.project_id, i.id from @input(project_id text, id text) as i
  union all
  select c.project_id, c.trigger_id
  from @input(token_hash text) as i
  join callback_urls as c on c.token_hash = i.token_hash
  union all
  select h.project_id, h.trigger_id
  from @input(project_id text, event_key text, event_id text) as i
  join held_events as h on h.project_id = i.project_id and h.event_key = i.event_key and h.event_id = i.event_id
), named as materialized (
  select k.project_id, k.id, k.root_id, k.job_run_id from by_key as k
  union
  select t.project_id, t.id, t.root_id, t.job_run_id
  from ids as i
  join triggers as t on t.project_id = i.project_id and t.id = i.id
), roots_named as materialized (
  select n.project_id, n.root_id as id from named as n where n.root_id is not null
  union
  select n.project_id, n.job_run_id from named as n where n.job_run_id is not null
  union
  select i.project_id, i.id from @input(project_id text, id text) as i
), workflow_runs_named as materialized (
  select n.project_id, n.id from roots_named as n
  union
  select r.project_id, r.root_id
  from roots_named as n
  join runs as r on r.project_id = n.project_id and r.id = n.id
), locked_workflow_runs as materialized (
  select w.project_id, w.id, w.workflow_id, w.workflow_version, w.version, w.status, w.steps, w.payload,
    w.payload_id, w.error, w.tags, w.parent_run_id, w.parent_step, w.depth, w.hops, w.retry_of,
    w.created_by, w.created_at, w.due_at, w.finished_at, w.last_fact_id, w.top_run_id
  from workflow_runs_named as n
  join workflow_runs as w on w.project_id = n.project_id and w.id = n.id
  order by w.project_id, w.id
  for no key update of w
), before as materialized (
  select count(*) as locked from locked_workflow_runs
), locked_runs as materialized (
  select r.project_id, r.id, r.job_id, r.version, r.status, r.priority, r.attempt, r.dispatch,
    r.timeout_secs, r.max_attempts, r.root_id, r.workflow_run_id, r.workflow_step_run_id, r.payload,
    r.payload_id, r.result, r.result_id, r.state, r.state_id, r.error, r.tags, r.progress, r.holder,
    r.wait_group_id, r.replay_of, r.created_by, r.created_at, r.scheduled_at, r.due_at,
    r.dispatched_at, r.finished_at, r.last_fact_id
  from before
  join roots_named as n on before.locked >= 0
  join runs as r on r.project_id = n.project_id and r.id = n.id
  order by r.project_id, r.id
  for no key update of r
), first as materialized (
  select count(*) as locked from locked_runs
), locked_triggers as materialized (
  select t.project_id, t.id, t.event_key, t.ordinal, t.version, t.trigger_type, t.source_type,
    t.status, t.root_id, t.wait_group_id, t.workflow_run_id, t.workflow_step_run_id, t.job_run_id,
    t.waiter, t.name, t.tags, t.request_payload, t.request_payload_id, t.response_payload,
    t.response_payload_id, t.expected_schema_id, t.timeout_secs, t.requested_at, t.expires_at,
    t.received_at, t.settled_at, t.error, t.sent_by, t.opened_by, t.last_fact_id, t.notify_url,
    t.notify_status, t.ballot
  from first
  join named as n on first.locked >= 0
  join triggers as t on t.project_id = n.project_id and t.id = n.id
  order by t.project_id, t.id
  for no key update of t
)
select array(select row(l.*) from locked_workflow_runs as l), array(select row(l.*) from locked_runs as l),
  array(select row(l.*) from locked_triggers as l),
  array(select row(o.project_id, o.id, o.kind, o.created_at, o.ended_at, o.descendants)
    from workflow_runs_named as n join roots as o on o.project_id = n.project_id and o.id = n.id),
  array(select row(g.project_id, g.id, g.root_id, g.run_id, g.mode, g.needed, g.trigger_ids, g.on_timeout,
      g.on_cancel, g.created_at, g.workflow_run_id, g.distinct_by, g.has_veto)
    from (select distinct t.project_id, t.wait_group_id from locked_triggers as t where t.status = 'waiting') as l
    join wait_groups as g on g.project_id = l.project_id and g.id = l.wait_group_id),
  array(select row(k.project_id, k.event_key, k.id) from by_key as k),
  array(select i.number from @input(number integer) as i
    where case when (select b.locked from before as b) > 0 then pg_try_advisory_xact_lock_shared(i.number) end),
  cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)

-- name: lock_limited_jobs
-- Who hands out runs of a job with a limit counts them alone. Answers which jobs have one, and the time after
-- these last locks.
with locked as materialized (
  select j.id from @input(project_id text, id text) as i
  join jobs as j on j.project_id = i.project_id and j.id = i.id
  where j.max_concurrency is not null
  order by j.project_id, j.id
  for no key update of j
)
select array(select l.id from locked as l), cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)

-- name: try_runs
-- Runs of roots that are locked: nobody else but a claim has these.
select r.id from @input(project_id text, id text) as i
join runs as r on r.project_id = i.project_id and r.id = i.id
order by r.project_id, r.id
for no key update of r nowait

-- name: lock_deliveries
select d.id from @input(project_id text, id text) as i
join deliveries as d on d.project_id = i.project_id and d.id = i.id
order by d.project_id, d.id
for no key update of d

-- name: lock_messages
select m.id from @input(project_id text, id text) as i
join messages as m on m.project_id = i.project_id and m.id = i.id
order by m.project_id, m.id
for no key update of m

-- name: keys_of_held_events
-- A held event is locked by its key; this finds the keys of those that are named by their ids, and the triggers
-- that those were delivered to, which are loaded with them.
select h.project_id, h.event_key, h.trigger_id from @input(project_id text, id text) as i
join held_events as h on h.project_id = i.project_id and h.id = i.id

-- name: time_now
select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)
