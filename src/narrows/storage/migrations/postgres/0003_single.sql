-- additive
-- The end of a statement that is a batch by itself (`storage/single.py`): it raises an error, so that nothing of it
-- took place, unless all that was to change has changed, nobody is about to change one of these credentials, the API keys
-- are good (as of the time of the batch), and the look was not longer ago than that. The names are locked first and the
-- keys read then, with a snapshot of their own, as every query of a volatile function has where committed is read:
-- whoever revokes one has locked its name and committed before, or comes after.
create function narrows_still_so(
  changed bigint[], expected bigint[], names bigint[], api_keys text[], at_time bigint, looked_at bigint, within_us bigint
) returns boolean language plpgsql volatile as $$
declare
  name bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise serialization_failure using message = 'a batch that is one statement has to read what is committed';
  end if;
  if changed is distinct from expected then
    raise serialization_failure using message = 'what the batch names has changed meanwhile';
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
  if extract(epoch from clock_timestamp()) * 1000000 > looked_at + within_us then
    raise serialization_failure using message = 'what the batch names was looked at long ago';
  end if;
  return true;
end
$$;
