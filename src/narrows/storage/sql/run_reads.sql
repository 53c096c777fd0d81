-- Reads of runs. Columns stand in the order of core.run_records.

-- name: list_runs_floor
-- The id at which a bounded look from :before downward ends; nothing if the project ends earlier.
select r.id from runs as r
where r.project_id = :project_id and r.id < :before
order by r.id desc
limit 1 offset :looked_at

-- name: list_runs_page
-- Newest first along the primary key. A filter that is null lets everything pass.
select r.id from runs as r
where r.project_id = :project_id and r.id < :before and r.id >= :floor
  and (cast(:status as text) is null or r.status = :status)
  and (cast(:job_id as text) is null or r.job_id = :job_id)
  and (cast(:tag_text as text) is null or replace(r.tags, :tag_text, '') <> r.tags)
order by r.id desc
limit :most

-- name: timeline_of_run
-- The chain of facts from :fact_id backward, without what is not below :before; at most :steps links.
with recursive chain (step, fact_id) as (
  select 1, cast(:fact_id as text)
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

-- name: facts_by_id
select f.project_id, f.id, f.kind, f.subject_id, f.root_id, f.previous_id, f.actor, f.version, f.at,
  f.detail
from @input(project_id text, id text) as i
cross join facts as f
where f.project_id = i.project_id and f.id = i.id

-- name: due_runs
-- Delayed runs, and leases of those that are being executed, in the order of their due times.
select r.due_at, r.project_id, r.id from runs as r
where (r.due_at, r.project_id, r.id) > (:after_at, :after_project_id, :after_id)
  and r.due_at <= :until
order by r.due_at, r.project_id, r.id
limit :most

-- name: executing_runs
-- The same index; a lease ends soon, so that what is delayed for longer is not looked at.
select r.due_at, r.project_id, r.id, r.holder from runs as r
where (r.due_at, r.project_id, r.id) > (:after_at, :after_project_id, :after_id)
  and r.due_at <= :until and r.status = 'executing'
order by r.due_at, r.project_id, r.id
limit :most

-- name: live_runs_ceiling
-- The id at which a bounded look from :after_id upward ends.
select r.id from runs as r
where r.project_id = :project_id and r.id > :after_id and r.id < :before_id
order by r.id
limit 1 offset :looked_at

-- name: live_runs_of_job
select r.id from runs as r
where r.project_id = :project_id and r.id > :after_id and r.id <= :last_id
  and r.id < :before_id
  and r.job_id = :job_id and r.finished_at is null
order by r.id
limit :most

-- name: count_runs_by_status
select coalesce(sum(c.delayed), 0), coalesce(sum(c.queued), 0), coalesce(sum(c.executing), 0),
  coalesce(sum(c.waiting), 0), coalesce(sum(c.completed), 0), coalesce(sum(c.failed), 0),
  coalesce(sum(c.timed_out), 0), coalesce(sum(c.canceled), 0), coalesce(sum(c.dead_letter), 0)
from run_counters as c

-- name: count_workflow_runs_by_status
select coalesce(sum(c.running), 0), coalesce(sum(c.paused), 0), coalesce(sum(c.completed), 0),
  coalesce(sum(c.failed), 0), coalesce(sum(c.timed_out), 0), coalesce(sum(c.canceled), 0)
from workflow_run_counters as c
