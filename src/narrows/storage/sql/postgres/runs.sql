-- Runs, where PostgreSQL says it otherwise.

-- name: queued_runs_by_job
-- The head of each job's queue, without what another node is claiming at this moment: nobody waits.
select r.project_id, r.id, r.job_id, r.version, r.status, r.priority, r.attempt, r.dispatch,
  r.timeout_secs, r.max_attempts, r.root_id, r.workflow_run_id, r.workflow_step_run_id, r.payload,
  r.payload_id, r.result, r.result_id, r.state, r.state_id, r.error, r.tags, r.progress, r.holder,
  r.wait_group_id, r.replay_of, r.created_by, r.created_at, r.scheduled_at, r.due_at,
  r.dispatched_at, r.finished_at, r.last_fact_id
from @input(project_id text, job_id text, most integer) as i
cross join lateral (
  select q.* from runs as q
  where q.project_id = i.project_id and q.job_id = i.job_id and q.status = 'queued'
  order by q.priority desc, q.id
  limit i.most
  for no key update skip locked) as r

-- name: timeline_of_run
-- Written out, since a parameter's collation is not the column's.
with recursive chain (step, fact_id) as (
  select 1, cast(:fact_id as text) collate "C"
  union all
  select chain.step + 1, f.previous_id from chain
  cross join facts as f
  where f.project_id = :project_id and f.id = chain.fact_id and chain.step < :steps
)
select f.project_id, f.id, f.kind, f.subject_id, f.root_id, f.previous_id, f.actor, f.version, f.at,
  f.detail
from chain
cross join facts as f
where f.project_id = :project_id and f.id = chain.fact_id and f.id < :before
order by chain.step
limit :most

-- name: verify_dispatches
-- Details are text, in which numbers do not compare.
with dispatched as (
  select f.project_id, f.subject_id, max(cast(cast(f.detail as json) ->> 'dispatch' as bigint)) as newest,
    count(*) as times, count(distinct cast(f.detail as json) ->> 'dispatch') as numbers
  from facts as f
  where f.kind = 'run.dispatched'
  group by f.project_id, f.subject_id
)
select r.project_id || ' ' || r.id, r.dispatch
from runs as r left join dispatched as d on d.project_id = r.project_id and d.subject_id = r.id
where (r.dispatch = 0) <> (r.dispatched_at is null)
  or (r.dispatch = 0 and r.status not in ('delayed', 'queued', 'canceled'))
  or r.attempt not between 1 and r.max_attempts
  or d.newest <> r.dispatch or d.times <> d.numbers
limit 20
