# retention.t: what finished has a partition for its day, made ahead; days as
# old as [tasks] retention go, with what belonged to their tasks, and what is
# still wanted stays.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Test::More;

my $hive = Hive::Test->start(workers => 2, nginx_workers => 1, ini => { tasks => { retention => 30 } });
my $ada = $hive->register;

sub sql { return $hive->psql("set search_path = cell0, hive;\n$_[0]") }

# Has the next look at what is due happen now, and waits until it is over: old
# events go last but one in it, and one is put there, so that it says so.
my $sweeps = 0;
sub sweep {
    $sweeps++;
    sql(qq{insert into events (channel, "offset", type, data, created_at) values ('sweep', $sweeps, 'sweep', '{}', now() - interval '100 days');
        update chores set due_at = '-infinity' where name <> 'presence'});
    $hive->wait_for(15, sub { sql("select count(*) from chores where due_at > now() and name <> 'presence'") == 2 }) or return 0;
    $hive->wait_for(15, sub { (() = $hive->log('worker') =~ /retention deleted \d+ events/g) >= $sweeps }) or return 0;
    # the days ahead may be somebody else's work, and old processes come last
    return $hive->wait_for(15, sub {
        sql(q{select count(*) from pg_stat_activity where usename = 'hive' and (state <> 'idle' or state_change > now() - interval '300 ms')
              and query ~ 'retention|partitions_|gone' and query !~ 'presence'}) == 0
    });
}

sub day { return sql("select to_char((now() at time zone 'UTC')::date + ($_[0]), 'YYYYMMDD')") }
sub partitions { my $relation = $_[0] // 'task_history'; return join ' ', split /\n/, sql("select name from partition_days where relation = '$relation' order by 1") }

# A finished task of so many days ago, that finished so many days ago.
my $serial = 0;
sub old_task {
    my ($made, $finished, %more) = @_;
    my %row = (state => "'succeeded'", kind => "'noop'", %more);
    my ($names, $values) = (join(', ', sort keys %row), join ', ', map { $row{$_} } sort keys %row);
    $serial++;
    return sql(<<"SQL");
insert into task_history (id, owner_id, turn, run_at, created_at, finished_at, $names)
select (substr(id_floor(now() - interval '$made days')::text, 1, 24) || lpad(to_hex($serial), 12, '0'))::uuid, '$ada->{id}', 0, now(), now(),
       now() - interval '$finished days', $values
returning id
SQL
}

# As partitions_prepare makes them, for days gone by.
sub old_partition {
    my ($days) = @_;
    my $name = 'task_history_' . day(-$days);
    sql(<<"SQL");
create table $name partition of task_history for values from (id_floor((now() at time zone 'UTC')::date::timestamp at time zone 'UTC' - interval '$days days'))
    to (id_floor((now() at time zone 'UTC')::date::timestamp at time zone 'UTC' - interval '$days days' + interval '1 day'));
SQL
    return $name;
}

sub exists_task { return sql("select count(*) from all_tasks where id = '$_[0]'") }

subtest 'days ahead' => sub {
    ok $hive->wait_for(10, sub { partitions() ne '' }), 'made as soon as a worker runs';
    is partitions(), join(' ', map { 'task_history_' . day($_) } 0 .. 3), 'of today and three days more';
    my $name = 'task_history_' . day(0);
    is sql("select count(*) from pg_index where indrelid = '$name'::regclass"), sql("select count(*) from pg_index where indrelid = 'task_history'::regclass"),
        'with every index of their parent';
    is sql("select count(*) from pg_inherits i join pg_index x on x.indexrelid = i.inhrelid where x.indrelid = '$name'::regclass"),
        sql("select count(*) from pg_index where indrelid = 'task_history'::regclass"), 'as parts of those';
    like sql("select reloptions from pg_class where relname = '$name'"), qr/autovacuum_vacuum_insert_threshold/, 'and settings of autovacuum';
    is sql("select distinct attstattarget from pg_attribute where attrelid = '$name'::regclass and attnum > 0"), 10, 'which looks at little of it';
    is sql("select a.attstattarget from pg_attribute a join pg_index i on i.indexrelid = a.attrelid where i.indrelid = '$name'::regclass and i.indexprs is not null and a.atttypid = 'text'::regtype"), 0,
        'and at no words';
    my $res = $hive->post('/api/v1/tasks', $ada, { kind => 'noop' });
    my $id = $res->json->{id};
    ok $hive->wait_for(10, sub { sql("select tableoid::regclass from task_history where id = '$id'") eq $name }), 'what finishes today is in the partition of today';
    is $hive->get("/api/v1/tasks/$id", $ada)->json->{state}, 'succeeded', 'and found';
};

subtest 'what came before its day was there' => sub {
    my $name = 'task_history_' . day(2);
    sql("drop table $name");
    my $id = sql(<<"SQL");
insert into task_history (id, owner_id, turn, run_at, created_at, finished_at, state, kind)
select (substr(id_floor((now() at time zone 'UTC')::date::timestamp at time zone 'UTC' + interval '2 days 1 hour')::text, 1, 24) || '000000000001')::uuid,
       '$ada->{id}', 0, now(), now(), now(), 'succeeded', 'noop'
returning id
SQL
    is sql("select tableoid::regclass from task_history where id = '$id'"), 'task_history_default', 'goes to the default partition';
    ok sweep(), 'then the day is made';
    is sql("select tableoid::regclass from task_history where id = '$id'"), $name, 'and has it';
};

subtest 'what is old goes' => sub {
    my %name = map { $_ => old_partition($_) } 29, 31, 32, 33, 40, 41;
    my $recent = old_task(29, 29);
    my $gone = old_task(40, 40, attempt => 2);
    my $child = old_task(40, 39);
    my $late = old_task(41, 3, attempt => 2);                       # finished long after it was made
    my $stray = old_task(50, 45);                                   # of a day without a partition
    my $stray_late = old_task(50, 2);
    my $alive = sql(<<"SQL");
insert into tasks (id, owner_id, turn, run_at, created_at, state, kind)
select (substr(id_floor(now() - interval '33 days')::text, 1, 24) || '0000000000aa')::uuid, '$ada->{id}', 0, now() + interval '1 day', now(), 'scheduled', 'noop'
returning id
SQL
    my $beside = old_task(33, 33);
    sql(<<"SQL");
insert into task_attempts (task_id, attempt, outcome, finished_at) values
    ('$gone', 1, 'failed', now()), ('$late', 1, 'failed', now()), ('$alive', 1, 'failed', now()), ('$stray', 1, 'lost', now()), ('$recent', 1, 'lost', now());
insert into task_dependencies (parent_id, child_id, parent_rank, child_rank) values ('$gone', '$child', 0, 1), ('$child', '$alive', 1, 2), ('$late', '$alive', 0, 2);
insert into runs (id, owner_id, state, finished_at) values
    (id_floor(now() - interval '40 days'), '$ada->{id}', 'succeeded', now() - interval '39 days'),
    (id_floor(now() - interval '41 days'), '$ada->{id}', 'succeeded', now() - interval '3 days'),
    (id_floor(now() - interval '42 days'), '$ada->{id}', 'running', null);
insert into events (channel, "offset", type, data, created_at)
select 'task:$gone', n, 'task.old', '{}', now() - interval '31 days' from generate_series(1, 5000) n;
insert into events (channel, "offset", type, data, created_at) values ('task:$late', 1, 'task.new', '{}', now() - interval '29 days');
insert into task_workers (id, host, pid, dead_at) values (gen_random_uuid(), 'old', 1, now() - interval '31 days'), (gen_random_uuid(), 'new', 1, now() - interval '2 days');
SQL
    ok sweep(), 'swept';
    is partitions(), join(' ', @name{ 41, 33, 29 }, map { 'task_history_' . day($_) } 0 .. 3),
        'days go when all of them is old, nothing in them finished later, and none of their tasks is unfinished';
    is_deeply { map { $_->[0] => exists_task($_->[1]) } [recent => $recent], [gone => $gone], [child => $child], [late => $late], [stray => $stray],
        [stray_late => $stray_late], [alive => $alive], [beside => $beside] },
        { recent => 1, gone => 0, child => 0, late => 1, stray => 0, stray_late => 1, alive => 1, beside => 1 }, 'tasks with them';
    # what lies above a day that stays waits for it
    is sql("select string_agg(distinct type, ' ') from events where channel in ('task:$gone', 'task:$late')"), 'task.new', 'events of before';
    $hive->wait_for(5, sub { sql("select count(*) from task_workers where host = 'old'") == 0 });
    is sql("select string_agg(host, ' ') from task_workers where host in ('old', 'new')"), 'new', 'processes that died before';
    is sql("select string_agg(state || '', ' ' order by state) from runs"), 'running succeeded', 'runs that ended before';
    is sql("select count(*) from task_attempts where task_id = '$stray'"), 0, 'attempts of what is gone';

    sql("delete from task_history where id = '$late'");
    ok sweep(), 'again';
    ok sweep(), 'and again';
    is partitions(), join(' ', @name{ 33, 29 }, map { 'task_history_' . day($_) } 0 .. 3), 'a day goes once nothing keeps it';
    is sql("select count(*) from task_attempts where task_id in ('$gone', '$late')"), 0, 'and what belonged to days above it';
    is sql("select count(*) from task_attempts where task_id in ('$alive', '$recent')"), 2, 'attempts of what is there stay';
    is sql("select count(*) from task_dependencies where parent_id in ('$gone', '$child', '$late')"), 0, 'edges from what is gone go';
};

subtest 'events' => sub {
    ok $hive->wait_for(10, sub { partitions('events') ne '' }), 'have days';
    my $ahead = join ' ', map { 'events_' . day($_) } 0 .. 3;
    is partitions('events'), $ahead, 'today and three more';
    like sql("select reloptions from pg_class where relname = 'events_" . day(0) . "'"), qr/autovacuum_vacuum_insert_threshold/, 'with settings of autovacuum';
    for my $days (28, 31, 45) {
        my $name = 'events_' . day(-$days);
        sql("create table $name partition of events for values from ((now() at time zone 'UTC')::date::timestamp at time zone 'UTC' - interval '$days days')
             to ((now() at time zone 'UTC')::date::timestamp at time zone 'UTC' - interval '$days days' + interval '1 day')");
        sql(qq{insert into events (channel, "offset", type, data, created_at) values ('task:days', $days, 'task.old', '{}', (now() at time zone 'UTC')::date::timestamp at time zone 'UTC' - interval '$days days' + interval '1 hour')});
        is sql(qq{select tableoid::regclass from events where channel = 'task:days' and "offset" = $days}), $name, "of $days days ago";
    }
    ok sweep(), 'swept';
    is partitions('events'), 'events_' . day(-28) . " $ahead", 'old days go whole';
    is sql(q{select string_agg("offset"::text, ' ') from events where channel = 'task:days'}), 28, 'with what happened on them';

    # what came before its day was there
    my $name = 'events_' . day(2);
    sql("drop table $name");
    sql(q{insert into events (channel, "offset", type, data, created_at) values ('task:ahead', 1, 'task.new', '{}', (now() at time zone 'UTC')::date::timestamp at time zone 'UTC' + interval '2 days 1 hour')});
    is sql("select tableoid::regclass from events where channel = 'task:ahead'"), 'events_default', 'goes to the default partition';
    ok sweep(), 'then the day is made';
    is sql("select tableoid::regclass from events where channel = 'task:ahead'"), $name, 'and has it';
};

subtest 'by one process, which others can read beside' => sub {
    my $deleted = sub { return $hive->log('worker') =~ /retention deleted (\d+ \w+)/g };
    my $before = () = $deleted->();
    sql("insert into events (channel, \"offset\", type, data, created_at) select 'task:many', n, 'task.old', '{}', now() - interval '40 days' from generate_series(1, 9000) n");
    ok sweep(), 'swept';
    is sql("select count(*) from events where channel = 'task:many'"), 0, 'more than a batch';
    my @lines = $deleted->();
    is_deeply [@lines[$before .. $#lines]], ['9001 events'], 'by one of two processes';

    # a partition that somebody reads is left for later, and nobody waits
    my $name = old_partition(35);
    my $pid = open my $reader, '|-', $Hive::Test::Cluster::bin . '/psql', '-XqAt', '-o', '/dev/null', '-h', $hive->pg_host, '-U', 'postgres', '-d', 'hive' or die;
    $reader->autoflush(1);
    print $reader "begin; select count(*) from cell0.$name;\n";
    $hive->wait_for(5, sub { sql("select count(*) from pg_locks where relation = '$name'::regclass") > 0 });
    sql("update chores set due_at = '-infinity'");
    sleep 6;
    like partitions(), qr/\Q$name\E/, 'a partition in use stays';
    my $id = $hive->post('/api/v1/tasks', $ada, { kind => 'noop' })->json->{id};
    ok $hive->wait_for(3, sub { exists_task($id) && $hive->get("/api/v1/tasks/$id", $ada)->json->{state} eq 'succeeded' }), 'tasks end meanwhile';
    print $reader "commit;\n";
    close $reader;
    ok $hive->wait_for(15, sub { partitions() !~ /\Q$name\E/ }), 'and goes when it is let go';
};

subtest 'what the role of the workers may do' => sub {
    my $refused = sub { my ($sql) = @_; return !defined eval { $hive->psql("set search_path = cell0, hive;\n$sql", user => 'hive') } };
    ok $refused->("drop table task_history_" . day(1)), 'not drop a partition';
    ok $refused->("delete from task_history_default"), 'nor empty one';
    ok $refused->("delete from events"), 'nor have what happened not have happened';
    ok $refused->("select partitions_prepare('tasks', 1)"), 'nor part what is not parted';
    ok $refused->("create function pg_temp.x() returns int language sql as 'select 1'; create table cell0.x (a int)"), 'nor make what it likes';
    is $hive->psql("set search_path = cell0, hive;\nset search_path = pg_temp, cell0, hive; create temp table tasks (id uuid); select count(*) from partitions_drop('task_history', now() - interval '300 days', '')", user => 'hive'), 0,
        'nor lead a function astray with a table of its own';
};

$hive->stop;
done_testing;
