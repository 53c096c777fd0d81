-- additive
-- The end of a statement that is a batch by itself (`storage/single.py`): it raises an error, so that nothing of it
-- took place, unless all that was to change has changed, within that time, nobody is about to change one of these
-- credentials, and the API keys are good at that time. The names are locked first and the keys read then, with a snapshot of their own, as
-- every query of a volatile function: whoever revokes one has locked its name and committed before, or comes after.
create function narrows_still_so(
  changed bigint[], expected bigint[], within_us bigint, names bigint[], api_keys text[], at_time bigint
) returns boolean language plpgsql volatile as $$
declare
  name bigint;
begin
  if changed is distinct from expected then
    raise serialization_failure using message = 'what the batch names has changed meanwhile';
  end if;
  if extract(epoch from clock_timestamp() - statement_timestamp()) * 1000000 > within_us then
    raise serialization_failure using message = 'what it waited for took long';
  end if;
  foreach name in array names loop
    if not pg_try_advisory_xact_lock_shared(name) then
      raise serialization_failure using message = 'a credential is being changed';
    end if;
  end loop;
  if (
    select count(*) from api_keys as k
    where k.id = any(api_keys) and k.revoked_at is null and (k.expires_at is null or k.expires_at > at_time)
  ) <> cardinality(api_keys) then
    raise serialization_failure using message = 'a credential has changed meanwhile';
  end if;
  return true;
end
$$;
