-- Deploy hive:schemas to pg
-- `hive` holds what is global and small, the cell what users own. Deployed
-- by the owner of the database; the workers are the role `hive`, which owns
-- nothing and is given what each change says.

begin;

do $$
begin
    if not exists (select from pg_roles where rolname = 'hive') then
        raise exception 'the role "hive" is missing'
            using hint = 'create role hive login';
    end if;
end
$$;

create schema hive;
create schema :"cell";
comment on schema hive is 'what is global and small: users, sessions, keys';
comment on schema :"cell" is 'what users own: projects, events';
grant usage on schema hive, :"cell" to hive;

-- Workers compare the deployed version with the one they were built for.
grant usage on schema :"registry" to hive;
grant select on :"registry".changes, :"registry".tags to hive;

commit;
