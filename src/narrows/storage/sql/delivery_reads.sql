-- Reads of deliveries: they change nothing. Columns stand in the order of core.run_records.Delivery.

-- name: due_deliveries
-- In the order of the index on due times.
select d.due_at, d.project_id, d.id, d.url from deliveries as d
where d.due_at is not null
  and (d.due_at, d.project_id, d.id) > (:after_at, :after_project_id, :after_id) and d.due_at <= :until
order by d.due_at, d.project_id, d.id
limit :most

-- name: list_deliveries_floor
-- The id at which a bounded look from :before downward ends.
select d.id from deliveries as d
where d.project_id = :project_id and d.id < :before
order by d.id desc
limit 1 offset :looked_at

-- name: list_deliveries_page
-- Newest first along the primary key. A status that is null lets everything pass.
select d.project_id, d.id, d.trigger_id, d.kind, d.url, d.status, d.attempts, d.last_status, d.error,
  d.created_at, d.due_at, d.finished_at
from deliveries as d
where d.project_id = :project_id and d.id < :before and d.id >= :floor
  and (cast(:status as text) is null or d.status = :status)
order by d.id desc
limit :most

-- name: list_deliveries_of_trigger
-- A trigger has two at most, so they are found by its index and sorted.
with found as materialized (
  select d.project_id, d.id, d.trigger_id, d.kind, d.url, d.status, d.attempts, d.last_status, d.error,
    d.created_at, d.due_at, d.finished_at
  from deliveries as d
  where d.project_id = :project_id and d.trigger_id = :trigger_id)
select * from found
where found.id < :before and (cast(:status as text) is null or found.status = :status)
order by found.id desc
limit :most

-- name: first_extension
-- The oldest extension of a trigger, found by walking the chain of its facts.
with recursive chain (step, fact_id) as (
  select 1, t.last_fact_id from triggers as t
  where t.project_id = :project_id and t.id = :trigger_id
  union all
  select chain.step + 1, f.previous_id from chain
  cross join facts as f
  where f.project_id = :project_id and f.id = chain.fact_id and chain.step < :most
)
select f.detail
from chain
cross join facts as f
where f.project_id = :project_id and f.id = chain.fact_id and f.kind = 'trigger.extended'
order by chain.step desc
limit 1
