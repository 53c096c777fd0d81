-- Jobs and messages: the columns stand in the order of core.run_records.

-- name: jobs_by_id
select j.project_id, j.id, j.slug, j.name, j.description, j.endpoint_url, j.timeout_secs, j.max_attempts,
  j.max_concurrency, j.tags, j.signing_secrets, j.version, j.created_at, j.updated_at, j.deleted_at
from @input(project_id text, id text) as i
cross join jobs as j
where j.project_id = i.project_id and j.id = i.id

-- name: jobs_by_slug
select j.project_id, j.id, j.slug, j.name, j.description, j.endpoint_url, j.timeout_secs, j.max_attempts,
  j.max_concurrency, j.tags, j.signing_secrets, j.version, j.created_at, j.updated_at, j.deleted_at
from @input(project_id text, slug text) as i
cross join jobs as j
where j.project_id = i.project_id and j.slug = i.slug and j.deleted_at is null

-- name: jobs_by_run
-- The job of a run that is known by its id alone.
select j.project_id, j.id, j.slug, j.name, j.description, j.endpoint_url, j.timeout_secs, j.max_attempts,
  j.max_concurrency, j.tags, j.signing_secrets, j.version, j.created_at, j.updated_at, j.deleted_at
from @input(project_id text, run_id text) as i
cross join runs as r
cross join jobs as j
where r.project_id = i.project_id and r.id = i.run_id and j.project_id = r.project_id and j.id = r.job_id

-- name: insert_jobs
insert into jobs (project_id, id, slug, name, description, endpoint_url, timeout_secs, max_attempts,
  max_concurrency, tags, signing_secrets, version, created_at, updated_at, deleted_at)
select project_id, id, slug, name, description, endpoint_url, timeout_secs, max_attempts,
  max_concurrency, tags, signing_secrets, version, created_at, updated_at, deleted_at
from @input(project_id text, id text, slug text, name text, description text, endpoint_url text,
  timeout_secs integer, max_attempts integer, max_concurrency integer, tags text,
  signing_secrets text, version integer, created_at integer, updated_at integer, deleted_at integer)

-- name: update_jobs
update jobs
set slug = i.slug, name = i.name, description = i.description, endpoint_url = i.endpoint_url,
  timeout_secs = i.timeout_secs, max_attempts = i.max_attempts, max_concurrency = i.max_concurrency,
  tags = i.tags, signing_secrets = i.signing_secrets, version = i.version,
  updated_at = i.updated_at, deleted_at = i.deleted_at
from @input(project_id text, id text, slug text, name text, description text, endpoint_url text,
  timeout_secs integer, max_attempts integer, max_concurrency integer, tags text,
  signing_secrets text, version integer, updated_at integer, deleted_at integer) as i
where jobs.project_id = i.project_id and jobs.id = i.id
  and jobs.deleted_at is null

-- name: messages_by_id
select m.project_id, m.id, m.kind, m.subject_id, m.cursor, m.hops, m.created_at, m.body, m.payload, m.payload_id
from @input(project_id text, id text) as i
cross join messages as m
where m.project_id = i.project_id and m.id = i.id

-- name: insert_messages
insert into messages (project_id, id, kind, subject_id, cursor, hops, created_at, body, payload, payload_id)
select project_id, id, kind, subject_id, cursor, hops, created_at, body, payload, payload_id
from @input(project_id text, id text, kind text, subject_id text, cursor text, hops integer,
  created_at integer, body text, payload text, payload_id text)

-- name: update_messages
update messages
set cursor = i.cursor
from @input(project_id text, id text, cursor text) as i
where messages.project_id = i.project_id and messages.id = i.id

-- name: delete_messages
delete from messages
where (project_id, id) in (select i.project_id, i.id from @input(project_id text, id text) as i)
