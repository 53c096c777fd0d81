-- Projects, credentials, tokens and idempotency records.

-- name: projects_by_id
select p.id, p.name, p.created_at, p.signing_secrets
from @input(id text) as i cross join projects as p where p.id = i.id

-- name: insert_projects
insert into projects (id, name, created_at, signing_secrets)
select id, name, created_at, signing_secrets
from @input(id text, name text, created_at integer, signing_secrets text)

-- name: update_projects
update projects set signing_secrets = i.signing_secrets
from @input(id text, signing_secrets text) as i
where projects.id = i.id

-- name: api_keys_by_id
select k.id, k.project_id, k.name, k.scopes, k.secret_hash, k.created_at, k.expires_at,
  k.revoked_at, k.created_by, k.replaced_by
from @input(id text) as i cross join api_keys as k where k.id = i.id

-- name: insert_api_keys
insert into api_keys (id, project_id, name, scopes, secret_hash, created_at, expires_at, revoked_at,
  created_by, replaced_by)
select id, project_id, name, scopes, secret_hash, created_at, expires_at, revoked_at, created_by,
  replaced_by
from @input(id text, project_id text, name text, scopes text, secret_hash text,
  created_at integer, expires_at integer, revoked_at integer, created_by text, replaced_by text)

-- name: update_api_keys
update api_keys set expires_at = i.expires_at, revoked_at = i.revoked_at, replaced_by = i.replaced_by
from @input(id text, expires_at integer, revoked_at integer, replaced_by text) as i
where api_keys.id = i.id

-- name: callback_urls_by_hash
select c.token_hash, c.id, c.project_id, c.trigger_id, c.created_at
from @input(token_hash text) as i cross join callback_urls as c where c.token_hash = i.token_hash

-- name: insert_callback_urls
insert into callback_urls (token_hash, id, project_id, trigger_id, created_at)
select token_hash, id, project_id, trigger_id, created_at
from @input(token_hash text, id text, project_id text, trigger_id text, created_at integer)

-- name: delete_callback_urls_of_triggers
delete from callback_urls
where (project_id, trigger_id) in (select i.project_id, i.id from @input(project_id text, id text) as i)

-- name: stream_tokens_by_hash
select s.token_hash, s.project_id, s.trigger_id, s.api_key_id, s.created_at, s.opened_at
from @input(token_hash text) as i cross join stream_tokens as s where s.token_hash = i.token_hash

-- name: insert_stream_tokens
insert into stream_tokens (token_hash, project_id, trigger_id, api_key_id, created_at, opened_at)
select token_hash, project_id, trigger_id, api_key_id, created_at, opened_at
from @input(token_hash text, project_id text, trigger_id text, api_key_id text,
  created_at integer, opened_at integer)

-- name: update_stream_tokens
update stream_tokens set opened_at = i.opened_at
from @input(token_hash text, opened_at integer) as i
where stream_tokens.token_hash = i.token_hash

-- name: idempotency_by_scope
select r.scope_hash, r.project_id, r.body_hash, r.status, r.trigger_id, r.reply, r.secret_id,
  r.created_at
from @input(scope_hash text) as i
cross join idempotency_records as r
where r.scope_hash = i.scope_hash

-- name: insert_idempotency_records
insert into idempotency_records (scope_hash, project_id, body_hash, status, trigger_id, reply,
  secret_id, created_at)
select scope_hash, project_id, body_hash, status, trigger_id, reply, secret_id, created_at
from @input(scope_hash text, project_id text, body_hash text, status integer, trigger_id text,
  reply text, secret_id text, created_at integer)

-- name: update_idempotency_records
-- A prefix send's progress, or a new request under a key whose 24 hours are over.
update idempotency_records
set body_hash = i.body_hash, status = i.status, trigger_id = i.trigger_id, reply = i.reply,
  secret_id = i.secret_id, created_at = i.created_at
from @input(scope_hash text, body_hash text, status integer, trigger_id text, reply text,
  secret_id text, created_at integer) as i
where idempotency_records.scope_hash = i.scope_hash

-- name: set_marks
insert into marks (name, value)
select name, value from @input(name text, value integer)
where true
on conflict (name) do update set value = excluded.value

-- name: marks_by_name
select m.name, m.value from @input(name text) as i cross join marks as m where m.name = i.name

-- name: delete_idempotency_records
delete from idempotency_records
where scope_hash in (select i.scope_hash from @input(scope_hash text, before integer) as i
  where i.before > idempotency_records.created_at)

-- name: delete_stream_tokens
delete from stream_tokens
where token_hash in (select i.token_hash from @input(token_hash text) as i)
