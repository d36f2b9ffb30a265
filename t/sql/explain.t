# explain.t: every list has an index that serves it. The statements are the
# ones that the resource engine composes (t/lib/list_statements.c), on enough
# rows that the planner has something to decide.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Mojo::JSON qw(decode_json);
use Test::More;

my $hive = Hive::Test->start(worker => 0, nginx => 0);
my $owner = '00000000-0000-7000-9000-000000000001';

# How the sessions of workers plan.
my %settings = Hive::Test::slurp("$Hive::Test::top/workers/db/connect.c") =~ /-c (jit|enable_\w+|max_parallel\w+|plan_cache_mode)=(\w+)/g;
cmp_ok scalar keys %settings, '>=', 5, 'how workers plan';
my $settings = join '', "set search_path = cell0, hive;\n", map { "set $_ = $settings{$_};\n" } sort keys %settings;

my @statements = map { decode_json($_) } split /\n/, `'@{[Hive::Test->build]}/t/list_statements'`;
ok scalar @statements > 10, scalar(@statements) . ' statements of the resource engine';

# Of each index, its columns in order (of an expression, its first word).
my %columns;
for (split /\n/, $hive->psql(<<'SQL')) {
select c.relname, string_agg(substring(regexp_replace(pg_get_indexdef(i.indexrelid, n, true), '^\(+', '') from '\w+'), ',' order by n)
from pg_index i join pg_class c on c.oid = i.indexrelid
join pg_am a on a.oid = c.relam and a.amname = 'btree', generate_series(1, i.indnkeyatts) n
where c.relnamespace::regnamespace::text in ('pg_catalog', 'hive', 'cell0') group by c.relname
SQL
    my ($index, $columns) = /^\s*(\w+)\s*\|\s*(\S+)/ or next;
    $columns{$index} = [split /,/, $columns];
}
cmp_ok scalar keys %columns, '>', 40, 'indexes and their columns';

# The scans of a plan that know the first columns of an index and a later one,
# but not what is between: all under the first is read for the later.
sub gaps {
    my ($plan) = @_;
    my @gaps;
    while ($plan =~ /Index (?:Only )?Scan (?:Backward )?using (\w+) on [^\n]*\n\s+Index Cond: ([^\n]*)/g) {
        my ($index, $cond) = ($1, $2);
        my @known = map { $cond =~ /(?<![\w.'"])(?:\w+\.)?"?\Q$_\E\b"?(?= (?:=|<|>|IS)|[(),])/ ? 1 : 0 } @{ $columns{$index} // die "no index $index" };
        push @gaps, "$index: $cond" if join('', @known) =~ /^1+0+1|^0/;
    }
    return @gaps;
}

sub plan_of {
    my ($sql, $params) = @_;
    return eval { $hive->psql("${settings}prepare s as $sql;\nexplain execute s" . ($params ? '(' . join(', ', ('null') x $params) . ')' : '')) } // "error: $@";
}

# What is found by its id is read by its id, whatever else must hold of it, also
# when the plan was made before there were rows: on an owner's index all that is
# theirs would be read for one.
sub no_gaps {
    my ($when) = @_;
    for my $s (grep { $_->{name} =~ /^(?:row|delete)\b/ } @statements) {
        my $plan = plan_of($s->{sql}, scalar @{ $s->{types} });
        is_deeply [$plan =~ /^error/ ? $plan : gaps($plan)], [], "$s->{resource} $s->{name} has no gap, $when" or diag $plan;
    }
    for my $file (map { m{(\w+)\.sql$} } glob "$Hive::Test::top/sql/queries/*.sql") {
        for my $name (Hive::Test::slurp("$Hive::Test::top/sql/queries/$file.sql") =~ /^-- name: (\w+)/mg) {
            my $sql = $hive->statement($name);
            my %params = map { $_ => 1 } $sql =~ /\$(\d+)/g;
            my $plan = plan_of($sql, scalar keys %params);
            is_deeply [$plan =~ /^error/ ? $plan : gaps($plan)], [], "$name has no gap, $when" or diag $plan;
        }
    }
    return;
}

# The statements of the engine: nothing is read from one end to the other. What counts all there is does, and says so.
sub engine_plans {
    my ($when) = @_;
    my $whole = qr/Index (?:Only )?Scan using \w+(?:_pkey|_owner|_channel)\w* on (?:tasks|task_history\w*|task_ready|task_dependencies|task_attempts|events\w*|presence)\b[^\n]*\n(?!\s+Index Cond)/;
    for my $file (qw(engine settle runners runs retry channels presence)) {
        my $text = Hive::Test::slurp("$Hive::Test::top/sql/queries/$file.sql");
        for my $name (grep { $_ ne 'task_depths' } $text =~ /^-- name: (\w+)/mg) {
            my $sql = $hive->statement($name);
            my %params = map { $_ => 1 } $sql =~ /\$(\d+)/g;
            my $plan = plan_of($sql, scalar keys %params);
            ok $plan !~ $whole && $plan !~ /^error/, "$name, $when" or diag "$sql\n$plan";
        }
    }
    return;
}
# plans outlive the moment at which the tables were empty
engine_plans('on empty tables');
no_gaps('on empty tables');

# as few rows as autovacuum counts, of eight people
$hive->psql(<<'SQL');
insert into hive.users (id, email, name)
select gen_random_uuid(), 'few' || i || '@example.test', 'Few ' || i from generate_series(1, 8) i;
insert into cell0.projects (id, owner_id, name) select gen_random_uuid(), id, name || n from hive.users, generate_series(1, 8) n;
insert into cell0.workflows (id, owner_id, project_id, name, steps) select id, owner_id, id, name, '[]' from cell0.projects;
insert into cell0.runs (id, owner_id, project_id, workflow_id, name) select id, owner_id, id, id, name from cell0.projects;
insert into cell0.schedules (id, owner_id, project_id, name, cron, workflow_id, next_at, fire_at)
select id, owner_id, id, name, '@daily', id, now(), now() from cell0.projects;
insert into cell0.tasks (id, owner_id, turn, run_at, created_at, kind, state) select id, owner_id, 1, now(), now(), 'few', 'ready' from cell0.projects;
insert into cell0.task_history (id, owner_id, turn, run_at, created_at, kind, state, finished_at) select id, owner_id, 1, now(), now(), 'few', 'succeeded', now() from cell0.projects;
insert into cell0.task_dependencies (parent_id, child_id, parent_rank, child_rank) select id, lead(id) over (order by id), 1, 2 from cell0.projects order by 2 limit 63;
analyze hive.users, cell0.projects, cell0.workflows, cell0.runs, cell0.schedules, cell0.tasks, cell0.task_history, cell0.task_dependencies;
SQL
engine_plans('on tables of a few rows');
no_gaps('on tables of a few rows');
$hive->psql('delete from cell0.task_dependencies; delete from cell0.tasks; delete from cell0.task_history; delete from cell0.projects; delete from hive.users;');

# 400 people with 100 projects each, of whom the first is asked about
$hive->psql(<<'SQL');
insert into hive.users (id, email, name)
select ('00000000-0000-7000-9000-' || lpad(to_hex(i), 12, '0'))::uuid, 'user' || i || '@example.test', 'User ' || i
from generate_series(1, 400) i;
insert into cell0.projects (id, owner_id, name, description, archived_at, created_at, updated_at)
select ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid,
       ('00000000-0000-7000-9000-' || lpad(to_hex((i - 1) % 400 + 1), 12, '0'))::uuid,
       'Project ' || i, 'word' || (i % 1000) || ' and others',
       case when i % 10 = 0 then timestamptz '2026-01-01' + i * interval '1 s' end,
       timestamptz '2026-01-01' + i * interval '61 s', timestamptz '2026-06-01' + i * interval '67 s'
from generate_series(1, 40000) i;
insert into cell0.workflows (id, owner_id, project_id, name, description, steps, created_at, updated_at)
select id, owner_id, id, name, description, '[]', created_at, updated_at from cell0.projects;
insert into cell0.runs (id, owner_id, project_id, workflow_id, name, state, created_at)
select id, owner_id, id, id, name, case when id::text like '%0' then 'running' else 'succeeded' end, created_at from cell0.projects;
insert into cell0.schedules (id, owner_id, project_id, name, cron, workflow_id, next_at, fire_at, created_at)
select id, owner_id, id, name, '@daily', id, created_at, created_at, created_at from cell0.projects;
vacuum (analyze) cell0.workflows;
vacuum (analyze) cell0.runs;
vacuum (analyze) cell0.schedules;
vacuum (analyze) hive.users;
vacuum (analyze) cell0.projects;
SQL

# as many unfinished tasks and finished ones, some with words and labels; in
# one partition, since an empty one may be read whole
for my $table (qw(tasks task_history_default)) {
    my $states = $table eq 'tasks' ? q{array['ready', 'scheduled', 'blocked', 'ready']} : q{array['succeeded', 'failed', 'cancelled', 'skipped']};
    my $n = $table eq 'tasks' ? 1 : 2;
    $hive->psql(<<"SQL");
insert into cell0.$table (id, owner_id, turn, run_at, created_at, state, kind, title, labels, project_id, run_id, parent_id, finished_at)
select ('0000000$n-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid,
       ('00000000-0000-7000-9000-' || lpad(to_hex((i - 1) % 400 + 1), 12, '0'))::uuid, i, now(), now(), ($states)[i % 4 + 1],
       'kind.' || i % 7, case when i % 2 = 0 then 'word' || (i % 1000) || ' and others' else '' end,
       case when i % 3 = 0 then array['label' || i % 900, 'all'] else '{}' end,
       case when i % 5 = 0 then md5((i % 100)::text)::uuid end, case when i % 5 = 1 then md5((i % 100)::text)::uuid end,
       case when i % 5 = 2 then md5((i % 100)::text)::uuid end, now()
from generate_series(1, 40000) i;
SQL
}
# a quarter of the unfinished runs, claimed fifty at a time; the rest is queued
$hive->psql(<<'SQL');
update cell0.tasks set worker_id = owner_id where id in (select id from cell0.tasks where state = 'ready' order by id limit 10000);
insert into cell0.task_claims (id, worker_id, ids)
select gen_random_uuid(), '00000000-0000-7000-9000-000000000001', array_agg(id)
from (select id, row_number() over (order by id) / 50 as n from cell0.tasks where worker_id is not null) t group by n;
insert into cell0.task_ready (lane, turn, id) select kind, turn, id from cell0.tasks where state = 'ready' and worker_id is null;
SQL
$hive->psql("vacuum (analyze) cell0.$_") for qw(tasks task_history task_claims task_ready);

for my $statement (grep { $_->{name} !~ /^(?:row|delete)\b/ } @statements) {
    my @values = map { defined $_ ? $_ : $owner } @{ $statement->{values} };
    my $types = join ', ', @{ $statement->{types} };
    my $given = join ', ', map { literal($values[$_], $statement->{types}[$_]) } 0 .. $#values;
    my $plan = eval { $hive->psql("${settings}prepare s($types) as $statement->{sql};\nexplain execute s($given)") } // "error: $@";
    # tables of a handful of rows may be read whole; those that grow may not
    ok $plan !~ /Seq Scan on (?:projects|events|users|workflows|runs|schedules|tasks|task_history\w*)\b/ && $plan !~ /^error/,
        "$statement->{resource}: $statement->{name}" or diag "$statement->{sql}\n$plan";
    # the newest of a kind are where its index begins: nothing is sorted but what was found
    next unless $statement->{resource} eq 'task' && $statement->{name} =~ /\S+ kind=sample(?: after)?$/;
    my @scans = $plan =~ /(\S* Scan .*) on task/g;
    is_deeply [grep { !/^Index Scan (?:Backward )?using (?:tasks_kind|\w+_task_flow_\w+)$/ } @scans], [], "task: $statement->{name}: by the index of kinds, in order"
        or diag $plan;
}

sub literal {
    my ($value, $type) = @_;
    $value =~ s/'/''/g;
    return "'$value'::$type";
}

# The statements of the hot path, by name.
for my $name (qw(project_get user_by_email)) {
    my $sql = $hive->statement($name);
    my $argument = $name eq 'project_get' ? "'$owner'" : "'user7\@example.test'";
    $sql =~ s/\$1/$argument/g;
    $sql =~ s/\$2/'00000000-0000-7000-8000-000000000001'/g;
    my $plan = $hive->psql("set search_path = cell0, hive;\nexplain $sql");
    unlike $plan, qr/Seq Scan/, "$name goes by an index" or diag $plan;
}

# The statements of tasks, as they are planned once for any parameters.
$hive->psql(<<'SQL');
insert into cell0.task_dependencies (parent_id, child_id, parent_rank, child_rank)
select ('00000001-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, ('00000001-0000-7000-8000-' || lpad(to_hex(i + 1), 12, '0'))::uuid, i, i + 1
from generate_series(1, 39999) i;
insert into cell0.task_attempts (task_id, attempt, outcome)
select ('00000001-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 1, 'failed' from generate_series(1, 40000) i;
vacuum (analyze) cell0.task_dependencies;
vacuum (analyze) cell0.task_attempts;
SQL
for my $file (qw(tasks enqueue dependencies retry channels)) {
    my $text = Hive::Test::slurp("$Hive::Test::top/sql/queries/$file.sql");
    for my $name ($text =~ /^-- name: (\w+)/mg) {
        my $sql = $hive->statement($name);
        my %params = map { $_ => 1 } $sql =~ /\$(\d+)/g;
        my $nulls = join ', ', map { 'null' } keys %params;
        my $plan = eval { $hive->psql("set search_path = cell0, hive;\nset plan_cache_mode = force_generic_plan;\nprepare s as $sql;\n"
            . 'explain execute s' . ($nulls ? "($nulls)" : '')) } // "error: $@";
        ok $plan !~ /Seq Scan on (?:projects|events\w*|tasks|runs|schedules|workflows|channels|task_history_default|task_ready|task_dependencies|task_attempts)\b/ && $plan !~ /^error/, $name
            or diag "$sql\n$plan";
    }
}

engine_plans('on full tables');
no_gaps('on full tables');

$hive->stop;
done_testing;
