-- Verify hive:schemas on pg

begin;

select set_config('hive.cell', :'cell', true),
       set_config('hive.registry', :'registry', true);

do $$
declare
    cell     text := current_setting('hive.cell');
    registry text := current_setting('hive.registry');
    wanted   text;
begin
    foreach wanted in array array['hive', cell, registry] loop
        -- Raises by itself when the schema is absent.
        if not has_schema_privilege('hive', wanted, 'usage') then
            raise exception 'hive may not use the schema %', wanted;
        end if;
        if has_schema_privilege('hive', wanted, 'create') then
            raise exception 'hive may create in the schema %', wanted;
        end if;
    end loop;

    foreach wanted in array array['changes', 'tags'] loop
        if not has_table_privilege('hive',
                format('%I.%I', registry, wanted), 'select') then
            raise exception 'hive may not read %.%', registry, wanted;
        end if;
    end loop;
end
$$;

rollback;
