-- Reads of jobs and messages. Columns stand in the order of core.run_records.

-- name: list_jobs_floor
select j.id from jobs as j
where j.project_id = :project_id and j.id < :before
order by j.id desc
limit 1 offset :looked_at

-- name: list_jobs_page
select j.project_id, j.id, j.slug, j.name, j.description, j.endpoint_url, j.timeout_secs,
  j.max_attempts, j.max_concurrency, j.tags, j.signing_secrets, j.version, j.created_at, j.updated_at,
  j.deleted_at
from jobs as j
where j.project_id = :project_id and j.id < :before and j.id >= :floor and j.deleted_at is null
order by j.id desc
limit :most

-- name: queued_jobs
-- Jobs with queued runs, by probes of the queue's index: one for each project and each job, however
-- many runs there are.
with recursive queued_projects (project_id) as (
  select min(r.project_id) from runs as r where r.status = 'queued'
  union all
  select (select min(r.project_id) from runs as r where r.status = 'queued' and r.project_id > p.project_id)
  from queued_projects as p
  where p.project_id is not null
), heads (project_id, job_id) as (
  select p.project_id, (select min(r.job_id) from runs as r
                        where r.status = 'queued' and r.project_id = p.project_id)
  from queued_projects as p
  where p.project_id is not null
  union all
  select h.project_id, (select min(r.job_id) from runs as r
                        where r.status = 'queued' and r.project_id = h.project_id and r.job_id > h.job_id)
  from heads as h
  where h.job_id is not null
)
select j.project_id, j.id, j.slug, j.name, j.description, j.endpoint_url, j.timeout_secs,
  j.max_attempts, j.max_concurrency, j.tags, j.signing_secrets, j.version, j.created_at, j.updated_at,
  j.deleted_at
from heads as h
cross join jobs as j
where j.project_id = h.project_id and j.id = h.job_id

-- name: jobs_with_queued_runs
select i.project_id, i.job_id from @input(project_id text, job_id text) as i
where exists (select 1 from runs as r
  where r.project_id = i.project_id and r.job_id = i.job_id and r.status = 'queued')
order by i.project_id, i.job_id

-- name: pending_messages
-- What is not consumed yet, of all projects, the oldest first; without those that have to wait, of which only
-- the ids are looked at.
select m.project_id, m.id, m.kind, m.subject_id, m.cursor, m.hops, m.created_at, m.body,
  coalesce(m.payload, p.body) as payload, m.payload_id
from messages as m
left join payloads as p on p.project_id = m.project_id and p.id = m.payload_id
where m.id not in (select named.value from @each(:postponed) as named)
order by m.id
limit :most
