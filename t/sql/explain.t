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

# The statements of the engine, as the sessions of workers plan them: nothing is
# read from one end to the other. What counts all there is does, and says so.
sub engine_plans {
    my ($when) = @_;
    my $whole = qr/Index (?:Only )?Scan using \w+(?:_pkey|_owner|_channel)\w* on (?:tasks|task_history\w*|task_ready|task_dependencies|task_attempts|events)\b[^\n]*\n(?!\s+Index Cond)/;
    my %settings = Hive::Test::slurp("$Hive::Test::top/workers/db/connect.c") =~ /-c (jit|enable_\w+|max_parallel\w+)=(\w+)/g;
    cmp_ok scalar keys %settings, '>=', 4, "how workers plan, $when";
    my $settings = join '', map { "set $_ = $settings{$_};\n" } sort keys %settings;
    for my $file (qw(engine settle runners runs retry)) {
        my $text = Hive::Test::slurp("$Hive::Test::top/sql/queries/$file.sql");
        for my $name (grep { $_ ne 'task_depths' } $text =~ /^-- name: (\w+)/mg) {
            my $sql = $hive->statement($name);
            my %params = map { $_ => 1 } $sql =~ /\$(\d+)/g;
            my $nulls = join ', ', map { 'null' } keys %params;
            my $plan = eval { $hive->psql("set search_path = cell0, hive;\nset plan_cache_mode = force_generic_plan;\n${settings}prepare s as $sql;\n"
                . 'explain execute s' . ($nulls ? "($nulls)" : '')) } // "error: $@";
            ok $plan !~ $whole && $plan !~ /^error/, "$name, $when" or diag "$sql\n$plan";
        }
    }
    return;
}
# plans outlive the moment at which the tables were empty
engine_plans('on empty tables');

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

my @statements = map { decode_json($_) } split /\n/, `'@{[Hive::Test->build]}/t/list_statements'`;
ok scalar @statements > 10, scalar(@statements) . ' list statements';

# as workers plan them: once, for any parameters
my $planned = "set search_path = cell0, hive;\nset plan_cache_mode = force_generic_plan;\n"
    . join '', map { "set $_ = off;\n" } qw(enable_seqscan enable_hashjoin enable_mergejoin);
for my $statement (@statements) {
    my @values = map { defined $_ ? $_ : $owner } @{ $statement->{values} };
    my $types = join ', ', @{ $statement->{types} };
    my $given = join ', ', map { literal($values[$_], $statement->{types}[$_]) } 0 .. $#values;
    my $plan = eval { $hive->psql("${planned}prepare s($types) as $statement->{sql};\nexplain execute s($given)") } // "error: $@";
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
for my $file (qw(tasks enqueue dependencies retry)) {
    my $text = Hive::Test::slurp("$Hive::Test::top/sql/queries/$file.sql");
    for my $name ($text =~ /^-- name: (\w+)/mg) {
        my $sql = $hive->statement($name);
        my %params = map { $_ => 1 } $sql =~ /\$(\d+)/g;
        my $nulls = join ', ', map { 'null' } keys %params;
        my $plan = eval { $hive->psql("set search_path = cell0, hive;\nset plan_cache_mode = force_generic_plan;\nprepare s as $sql;\n"
            . 'explain execute s' . ($nulls ? "($nulls)" : '')) } // "error: $@";
        ok $plan !~ /Seq Scan on (?:projects|events|tasks|task_history_default|task_ready|task_dependencies|task_attempts)\b/ && $plan !~ /^error/, $name
            or diag "$sql\n$plan";
    }
}

engine_plans('on full tables');

$hive->stop;
done_testing;
