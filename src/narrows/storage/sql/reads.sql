-- Reads: they change nothing. Columns stand in the order of the records of core.records.

-- name: list_floor
-- The id at which a bounded look from :before downward ends; nothing if the project ends earlier.
select t.id from triggers as t
where t.project_id = :project_id and t.id < :before
order by t.id desc
limit 1 offset :looked_at

-- name: list_page
-- Newest first along the primary key. A filter that is null lets everything pass.
select t.id from triggers as t
where t.project_id = :project_id and t.id < :before and t.id >= :floor
  and (cast(:status as text) is null or t.status = :status)
  and (cast(:source_type as text) is null or t.source_type = :source_type)
  and (cast(:workflow_run_id as text) is null or t.workflow_run_id = :workflow_run_id)
  and (cast(:job_run_id as text) is null or t.job_run_id = :job_run_id)
  and (cast(:prefix as text) is null or (t.event_key >= :prefix and t.event_key < :prefix_end))
  and (cast(:tag_text as text) is null or replace(t.tags, :tag_text, '') <> t.tags)
order by t.id desc
limit :most

-- name: ordinal_at_most
-- One probe of the search for where a page of one key's waits begins.
select t.ordinal, t.id from triggers as t
where t.project_id = :project_id and t.event_key = :event_key and t.ordinal <= :ordinal
order by t.ordinal desc
limit 1

-- name: list_key_floor
select t.id from triggers as t
where t.project_id = :project_id and t.event_key = :event_key and t.ordinal <= :top
order by t.ordinal desc
limit 1 offset :looked_at

-- name: list_key_page
-- Under one key the ordinals rise with the ids, so their index gives the order of the list.
select t.id from triggers as t
where t.project_id = :project_id and t.event_key = :event_key and t.ordinal <= :top
  and t.ordinal >= coalesce((select f.ordinal from triggers as f
                             where f.project_id = :project_id and f.id = :floor), 0)
  and t.id < :before
  and (cast(:status as text) is null or t.status = :status)
  and (cast(:source_type as text) is null or t.source_type = :source_type)
  and (cast(:workflow_run_id as text) is null or t.workflow_run_id = :workflow_run_id)
  and (cast(:job_run_id as text) is null or t.job_run_id = :job_run_id)
  and (cast(:prefix as text) is null or (t.event_key >= :prefix and t.event_key < :prefix_end))
  and (cast(:tag_text as text) is null or replace(t.tags, :tag_text, '') <> t.tags)
order by t.ordinal desc
limit :most

-- name: list_tag_floor
select g.trigger_id from trigger_tags as g
where g.project_id = :project_id and g.name = :tag_name and g.value = :tag_value
  and g.trigger_id < :before
order by g.trigger_id desc
limit 1 offset :looked_at

-- name: list_tag_page
select g.trigger_id from trigger_tags as g
cross join triggers as t
where g.project_id = :project_id and g.name = :tag_name and g.value = :tag_value
  and g.trigger_id < :before and g.trigger_id >= :floor
  and t.project_id = :project_id and t.id = g.trigger_id
  and (cast(:status as text) is null or t.status = :status)
  and (cast(:source_type as text) is null or t.source_type = :source_type)
  and (cast(:workflow_run_id as text) is null or t.workflow_run_id = :workflow_run_id)
  and (cast(:job_run_id as text) is null or t.job_run_id = :job_run_id)
  and (cast(:prefix as text) is null or (t.event_key >= :prefix and t.event_key < :prefix_end))
order by g.trigger_id desc
limit :most

-- name: prefix_count
-- How many waits a prefix covers, counted no further than :most.
select count(*) from (
  select t.ordinal from triggers as t
  where t.project_id = :project_id and t.event_key >= :prefix and t.event_key < :prefix_end
  limit :most) as found

-- name: list_prefix_page
-- For a prefix that covers few waits: all of them are taken from the keys' index and sorted.
with found as (
  select n.id from triggers as n
  where n.project_id = :project_id and n.event_key >= :prefix and n.event_key < :prefix_end
  limit :few)
select t.id from found
cross join triggers as t
where t.project_id = :project_id and t.id = found.id and t.id < :before
  and (cast(:status as text) is null or t.status = :status)
  and (cast(:source_type as text) is null or t.source_type = :source_type)
  and (cast(:workflow_run_id as text) is null or t.workflow_run_id = :workflow_run_id)
  and (cast(:job_run_id as text) is null or t.job_run_id = :job_run_id)
  and (cast(:tag_text as text) is null or replace(t.tags, :tag_text, '') <> t.tags)
order by t.id desc
limit :most

-- name: tag_name_count
select count(*) from (
  select g.trigger_id from trigger_tags as g
  where g.project_id = :project_id and g.name = :tag_name
  limit :most) as found

-- name: list_tag_name_page
-- For a tag's name that few waits have.
with found as (
  select g.trigger_id from trigger_tags as g
  where g.project_id = :project_id and g.name = :tag_name
  limit :few)
select t.id from found
cross join triggers as t
where t.project_id = :project_id and t.id = found.trigger_id and t.id < :before
  and (cast(:status as text) is null or t.status = :status)
  and (cast(:source_type as text) is null or t.source_type = :source_type)
  and (cast(:workflow_run_id as text) is null or t.workflow_run_id = :workflow_run_id)
  and (cast(:job_run_id as text) is null or t.job_run_id = :job_run_id)
  and (cast(:prefix as text) is null or (t.event_key >= :prefix and t.event_key < :prefix_end))
order by t.id desc
limit :most

-- name: payload_bytes_by_id
-- How large payloads are, before any is loaded.
select p.project_id, p.id, octet_length(p.body) as bytes
from @input(project_id text, id text) as i
cross join payloads as p
where p.project_id = i.project_id and p.id = i.id

-- name: waiting_under_prefix
-- All ids as one text, oldest first: a row each would cost a turn of Python's lock each.
select string_agg(t.id, ',' order by t.id) from triggers as t
where t.project_id = :project_id and t.event_key >= :prefix and t.event_key < :prefix_end
  and t.status = 'waiting' and t.trigger_type = 'event' and t.expires_at > :now

-- name: timeline_of_trigger
-- The chain of facts, walked from its newest end, which is the highest step.
with recursive chain (step, fact_id) as (
  select 1, t.last_fact_id from triggers as t
  where t.project_id = :project_id and t.id = :trigger_id
  union all
  select chain.step + 1, f.previous_id from chain
  cross join facts as f
  where f.project_id = :project_id and f.id = chain.fact_id and chain.step < :most
)
select f.project_id, f.id, f.kind, f.subject_id, f.root_id, f.previous_id, f.actor, f.version, f.at,
  f.detail
from chain
cross join facts as f
where f.project_id = :project_id and f.id = chain.fact_id
order by chain.step desc

-- name: list_held_floor
select h.id from held_events as h
where h.project_id = :project_id and h.id < :before
order by h.id desc
limit 1 offset :looked_at

-- name: list_held_page
select h.project_id, h.id, h.event_key, h.event_id, h.status, h.payload, h.payload_id, h.held_at,
  h.held_until, h.trigger_id, h.sent_by, h.hops
from held_events as h
where h.project_id = :project_id and h.id < :before and h.id >= :floor
  and h.status = 'held' and h.held_until > :now
order by h.id desc
limit :most

-- name: list_held_key_page
select h.project_id, h.id, h.event_key, h.event_id, h.status, h.payload, h.payload_id, h.held_at,
  h.held_until, h.trigger_id, h.sent_by, h.hops
from held_events as h
where h.project_id = :project_id and h.event_key = :event_key and h.id < :before
  and h.status = 'held' and h.held_until > :now
order by h.id desc
limit :most

-- name: held_count_of_key
select count(*), min(h.held_until) from held_events as h
where h.project_id = :project_id and h.event_key = :event_key
  and h.status = 'held' and h.held_until > :now

-- name: list_unmatched_page
select u.project_id, u.id, u.event_key, u.reason, u.trigger_id, u.late_us, u.detail, u.sent_by,
  u.arrived_at
from unmatched_events as u
where u.project_id = :project_id and u.id < :before
order by u.id desc
limit :most

-- name: list_unmatched_key_page
-- The ids first, from the index on keys alone; the rows after them.
with found as (
  select k.id from unmatched_events as k
  where k.project_id = :project_id and k.event_key = :event_key and k.id < :before
  order by k.id desc
  limit :most)
select u.project_id, u.id, u.event_key, u.reason, u.trigger_id, u.late_us, u.detail, u.sent_by,
  u.arrived_at
from found
cross join unmatched_events as u
where u.project_id = :project_id and u.id = found.id
order by u.id desc

-- name: list_projects_page
select p.id, p.name, p.created_at from projects as p
where p.id > :after
order by p.id
limit :most

-- name: list_api_keys_page
select k.id, k.project_id, k.name, k.scopes, k.secret_hash, k.created_at, k.expires_at,
  k.revoked_at, k.created_by, k.replaced_by
from api_keys as k
where k.id < :before
order by k.id desc
limit :most

-- name: list_api_keys_of_project_page
select k.id, k.project_id, k.name, k.scopes, k.secret_hash, k.created_at, k.expires_at,
  k.revoked_at, k.created_by, k.replaced_by
from api_keys as k
where k.project_id = :project_id and k.id < :before
order by k.id desc
limit :most

-- name: due_triggers
-- What is still waiting, in the order of the due times.
select t.expires_at, t.project_id, t.id from triggers as t
where (t.expires_at, t.project_id, t.id) > (:after_at, :after_project_id, :after_id)
  and t.expires_at <= :until and t.status = 'waiting'
order by t.expires_at, t.project_id, t.id
limit :most

-- name: due_held_events
select h.held_until, h.project_id, h.id from held_events as h
where h.held_until <= :until
order by h.held_until, h.project_id, h.id
limit :most

-- name: count_by_status
select coalesce(sum(c.waiting), 0), coalesce(sum(c.received), 0), coalesce(sum(c.timed_out), 0),
  coalesce(sum(c.canceled), 0)
from counters as c

-- name: oldest_waiting_by_project
-- For each project that has waits open: the first among its :looked_at oldest triggers, or null.
select (select looked.requested_at
        from (select t.status, t.requested_at from triggers as t
              where t.project_id = c.project_id
              order by t.id
              limit :looked_at) as looked
        where looked.status = 'waiting'
        limit 1) as requested_at
from counters as c
group by c.project_id
having sum(c.waiting) > 0

-- name: oldest_waiting_by_due_time
-- The oldest among the next :looked_at due times, and how many were looked at.
select min(case when looked.status = 'waiting' then looked.requested_at end), count(*)
from (select t.status, t.requested_at from triggers as t
      where t.expires_at >= :after_at
      order by t.expires_at, t.project_id, t.id
      limit :looked_at) as looked

-- name: schema_version
select coalesce(max(m.number), 0) from schema_migrations as m

-- name: settled_ceiling
-- The id at which a bounded look from :after_id upward ends.
select t.id from triggers as t
where t.project_id = :project_id and t.id > :after_id and t.id < :before_id
order by t.id
limit 1 offset :looked_at

-- name: settled_triggers
-- What purge and retention may delete: settled before, its root has ended, no webhook about it is due
-- and no live replay goes on from it.
select t.id from triggers as t
where t.project_id = :project_id and t.id > :after_id and t.id <= :last_id
  and t.status <> 'waiting' and t.settled_at < :settled_before
  and coalesce(t.notify_status, '') <> 'pending'
  and not exists (select 1 from roots as r
                  where r.project_id = t.project_id and r.id = t.root_id and r.ended_at is null)
  and not exists (select 1 from runs as n
    where n.project_id = t.project_id and n.wait_group_id = t.wait_group_id
      and n.replay_of is not null and n.finished_at is null)
order by t.id
limit :most

-- name: count_settled
select count(*) from triggers as t
where t.project_id = :project_id and t.id < :before_id
  and t.status <> 'waiting' and t.settled_at < :settled_before
  and coalesce(t.notify_status, '') <> 'pending'
  and not exists (select 1 from roots as r
                  where r.project_id = t.project_id and r.id = t.root_id and r.ended_at is null)
  and not exists (select 1 from runs as n
    where n.project_id = t.project_id and n.wait_group_id = t.wait_group_id
      and n.replay_of is not null and n.finished_at is null)

-- name: old_facts
-- What concerns no project (an admin key) is kept under the project id '-'.
with known (id) as (select p.id from projects as p union all select '-')
select f.project_id, f.id from known
cross join facts as f
where f.project_id = known.id and f.id < :before_id
order by f.project_id, f.id
limit :most

-- name: old_unmatched_events
select u.project_id, u.id from projects as p
cross join unmatched_events as u
where u.project_id = p.id and u.id < :before_id
order by u.project_id, u.id
limit :most

-- name: surplus_unmatched_events
-- What lies beyond a project's newest :kept, the oldest last.
select u.project_id, u.id from unmatched_events as u
where u.project_id = :project_id
order by u.id desc
limit :most offset :kept

-- name: old_idempotency_records
select r.scope_hash from idempotency_records as r
where r.created_at < :before
order by r.created_at
limit :most

-- name: old_stream_tokens
select s.token_hash from stream_tokens as s
where s.created_at < :before
order by s.created_at
limit :most

-- name: keys_after
-- The next :most distinct keys in byte order: each step is one probe of the keys' index, however
-- many waits a key has had.
with recursive neighbours (step, event_key) as (
  select 1, (select min(t.event_key) from triggers as t
             where t.project_id = :project_id and t.event_key > :event_key)
  union all
  select n.step + 1, (select min(t.event_key) from triggers as t
                      where t.project_id = :project_id and t.event_key > n.event_key)
  from neighbours as n
  where n.event_key is not null and n.step < :most
)
select n.event_key from neighbours as n where n.event_key is not null

-- name: keys_before
with recursive neighbours (step, event_key) as (
  select 1, (select max(t.event_key) from triggers as t
             where t.project_id = :project_id and t.event_key < :event_key)
  union all
  select n.step + 1, (select max(t.event_key) from triggers as t
                      where t.project_id = :project_id and t.event_key < n.event_key)
  from neighbours as n
  where n.event_key is not null and n.step < :most
)
select n.event_key from neighbours as n where n.event_key is not null

-- name: key_from
-- The first key at or after one: how the families of keys (all before the last ':' or '/') are told.
select min(t.event_key) from triggers as t
where t.project_id = :project_id and t.event_key >= :event_key

-- name: statuses_by_key
-- Which of these keys have had a wait, and how the newest one stands.
select t.event_key, t.status
from @input(project_id text, event_key text) as i
cross join triggers as t
where t.project_id = i.project_id and t.event_key = i.event_key
  and t.ordinal = (select max(n.ordinal) from triggers as n
                   where n.project_id = i.project_id and n.event_key = i.event_key)

-- name: unmatched_keys_after
with recursive neighbours (step, event_key) as (
  select 1, (select min(u.event_key) from unmatched_events as u
             where u.project_id = :project_id and u.event_key > :event_key)
  union all
  select n.step + 1, (select min(u.event_key) from unmatched_events as u
                      where u.project_id = :project_id and u.event_key > n.event_key)
  from neighbours as n
  where n.event_key is not null and n.step < :most
)
select n.event_key from neighbours as n where n.event_key is not null

-- name: unmatched_keys_before
with recursive neighbours (step, event_key) as (
  select 1, (select max(u.event_key) from unmatched_events as u
             where u.project_id = :project_id and u.event_key < :event_key)
  union all
  select n.step + 1, (select max(u.event_key) from unmatched_events as u
                      where u.project_id = :project_id and u.event_key < n.event_key)
  from neighbours as n
  where n.event_key is not null and n.step < :most
)
select n.event_key from neighbours as n where n.event_key is not null

-- name: unmatched_key_from
select min(u.event_key) from unmatched_events as u
where u.project_id = :project_id and u.event_key >= :event_key

-- name: unmatched_by_key
-- Which of these keys an event came for in vain, and when the last one did.
select i.event_key, u.arrived_at
from @input(project_id text, event_key text) as i
cross join unmatched_events as u
where u.project_id = i.project_id
  and u.id = (select max(k.id) from unmatched_events as k
              where k.project_id = i.project_id and k.event_key = i.event_key)
