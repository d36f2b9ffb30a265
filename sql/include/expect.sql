-- expect.sql: what a verify script compares with (\ir ../include/expect.sql).
-- A relation is described as lines of text: columns, constraints, indexes,
-- storage options, what the role hive may do. pg_temp.expect(relation, lines)
-- raises the lines that are missing; what later changes add does not matter.
-- pg_temp.expect_domain(schema, name, type, check) does so for a domain.
-- Temporary functions: sqitch rolls a verify back.

set local search_path = pg_catalog, pg_temp;
set local client_min_messages = warning;

create function pg_temp.describe(relation regclass)
returns setof text language sql as $$
    select 'column ' || a.attname || ' '
           || format_type(a.atttypid, a.atttypmod)
           || case when a.attnotnull then ' not null' else '' end
           || case when a.attgenerated = 's' then ' generated ' else ' ' end
           || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
    from pg_attribute a
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
    union all
    select 'constraint ' || c.conname || ' ' || pg_get_constraintdef(c.oid)
           || case when c.convalidated then '' else ' NOT VALID' end
    from pg_constraint c
    where c.conrelid = relation
    union all
    select 'index ' || case when i.indisunique then 'unique ' else '' end
           || case when i.indisvalid then '' else 'INVALID ' end
           || regexp_replace(pg_get_indexdef(i.indexrelid),
                  '^.* INDEX (\S+) ON \S+ USING ', '\1 ')
    from pg_index i
    where i.indrelid = relation
    union all
    select 'option ' || unnest(reloptions)
    from pg_class
    where oid = relation
    union all
    select 'grant ' || p.privilege
    from unnest(array['select', 'insert', 'update', 'delete', 'truncate',
        'references', 'trigger']) as p (privilege)
    where has_table_privilege('hive', relation, p.privilege)
$$;

create function pg_temp.expect(relation text, expected text)
returns void language plpgsql as $$
declare
    missing text;
begin
    with expect as (
        select btrim(line) as line
        from regexp_split_to_table(expected, '\n') as line
        where btrim(line) <> ''
    ), actual as (
        select btrim(line) as line
        from pg_temp.describe(relation::regclass) as line
    )
    select string_agg('  ' || m.line, E'\n')
    into missing
    from (select line from expect except select line from actual) m;

    if missing is not null then
        raise exception E'% lacks what was deployed:\n%', relation, missing;
    end if;
end
$$;

create function pg_temp.expect_domain(
    cell text, domain text, base text, expected text)
returns void language plpgsql as $$
begin
    perform from pg_type t
    join pg_constraint c on c.contypid = t.oid
    where t.typnamespace = cell::regnamespace and t.typname = domain
      and format_type(t.typbasetype, t.typtypmod) = base
      and pg_get_constraintdef(c.oid) = 'CHECK (' || expected || ')';
    if not found then
        raise exception 'domain %.% is not % with CHECK (%)', cell, domain,
            base, expected;
    end if;
end
$$;
