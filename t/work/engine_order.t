# engine_order.t: who runs when: soon after the commit, no more of a limit
# than it allows, and nobody behind another's backlog.

use strict;
use warnings;
use Test::More;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Time::HiRes qw(sleep time);
use Hive::Test;
use Hive::Test::Tasks;

our $hive = Hive::Test->start(workers => 2, ini => { tasks => { slots => 16 } });
my $tasks = Hive::Test::Tasks->new($hive);
my ($ada, $eve) = ($hive->register, $hive->register);

sub add {
    my ($user, %o) = @_;
    my $res = $hive->post('/api/v1/tasks', $user, \%o);
    $res->code == 201 or die 'add: ' . $res->code . ' ' . $res->body;
    return $res->json->{id};
}

sub add_many {
    my ($user, $count, %o) = @_;
    my @ids;
    while ($count > 0) {
        my $n = $count > 1000 ? 1000 : $count;
        my $res = $hive->post('/api/v1/tasks/batch', $user, { action => 'create', items => [map { +{%o} } 1 .. $n] });
        $res->code < 300 or die 'batch: ' . $res->code . ' ' . $res->body;
        push @ids, map { $_->{id} } @{ $res->json->{items} };
        $count -= $n;
    }
    return @ids;
}

# Milliseconds from the making of a task to its start, in order.
sub waits {
    my (@ids) = @_;
    my $in = join ',', map { "'$_'" } @ids;
    return split /\n/, $hive->psql("select 1000 * extract(epoch from started_at - created_at) as w from cell0.task_history where id in ($in) order by w");
}

subtest 'idle latency' => sub {
    my @ids;
    for (1 .. 60) {
        push @ids, add($ada, kind => 'sleep', input => { ms => 1 });
        sleep 0.02;
    }
    is $tasks->ended($_), 'succeeded', 'run' for $ids[0], $ids[-1];
    my @ms = waits(@ids);
    is scalar @ms, 60, 'all';
    note sprintf 'p50 %.1f ms, p95 %.1f ms', @ms[30, 57];
    cmp_ok $ms[30], '<', 20, 'the median start is soon after the commit';
};

subtest 'limits' => sub {
    my @ids = map { add($ada, kind => 'sleep', input => { ms => 5 + $_ % 7 }, limit => { key => 'one', max => 3 }) } 1 .. 60;
    push @ids, add_many($ada, 140, kind => 'sleep', input => { ms => 15 }, limit => { key => 'one', max => 3 });
    my @other = add_many($eve, 20, kind => 'sleep', input => { ms => 15 }, limit => { key => 'one', max => 1 });
    ok defined $tasks->drained(30, "kind = 'sleep'"), 'all are done';
    for ([$ada, 3, 200], [$eve, 1, 20]) {
        my ($user, $max, $n) = @$_;
        my $most = $hive->psql(qq{
            select max(n) || '|' || count(*) from (
                select (select count(*) from cell0.task_history b where b.limit_key = 'one' and b.owner_id = a.owner_id
                        and b.started_at <= a.started_at and b.finished_at > a.started_at) as n
                from cell0.task_history a where a.limit_key = 'one' and a.owner_id = '$user->{id}') x});
        my ($at_once, $count) = split /\|/, $most;
        is $count, $n, "$n of them";
        is $at_once, $max, "$max at once, never more";
    }
};

subtest 'nobody waits behind a backlog' => sub {
    add_many($ada, 4000, kind => 'sleep', input => { ms => 20 });
    ok $hive->wait_for(5, sub { $hive->psql("select count(*) from cell0.tasks where worker_id is not null") >= 16 }), 'the backlog runs';
    my @ids;
    for (1 .. 10) {
        push @ids, add($eve, kind => 'sleep', input => { ms => 1 });
        sleep 0.1;
    }
    ok $hive->psql("select count(*) from cell0.ready_tasks") > 100, 'and there is more of it';
    is $tasks->ended($_), 'succeeded', 'run' for @ids;
    my @ms = waits(@ids);
    note sprintf 'waited %.0f to %.0f ms', @ms[0, -1];
    cmp_ok $ms[4], '<', 150, 'half of the others waited for no more than what ran';
    cmp_ok $ms[-1], '<', 1600, 'and none for long';
    ok defined $tasks->drained(40), 'the backlog is done';
};

subtest 'priorities share' => sub {
    add_many($ada, 2000, kind => 'sleep', input => { ms => 40 }, priority => 3);
    add_many($ada, 300, kind => 'sleep', input => { ms => 40 }, priority => 7);
    ok defined $tasks->drained(40), 'all are done';
    my $first_low = $hive->psql("select extract(epoch from min(finished_at)) from cell0.task_history where priority = 3");
    my $last_high = $hive->psql("select extract(epoch from max(finished_at)) from cell0.task_history where priority = 7");
    my $last_low = $hive->psql("select extract(epoch from max(finished_at)) from cell0.task_history where priority = 3");
    cmp_ok $first_low, '<', $last_high, 'the low ones are not starved';
    cmp_ok $last_high, '<', $last_low, 'the high ones end first, though they came last';
};

$hive->stop;

subtest 'a process without room tells the others' => sub {
    my $small = Hive::Test->start(workers => 2, ini => { tasks => { slots => 1 } });
    local $hive = $small;
    my $its = Hive::Test::Tasks->new($small);
    my $bob = $small->register;
    my $long = add($bob, kind => 'sleep', input => { ms => 6000 });
    ok $its->wait_state($long, 'running'), 'one is busy';
    sleep 1.5;
    my @ids;
    for (1 .. 30) {
        push @ids, add($bob, kind => 'sleep', input => { ms => 1 });
        sleep 0.03;
    }
    is $its->ended($_), 'succeeded', 'run' for $ids[0], $ids[-1];
    my @ms = waits(@ids);
    is scalar @ms, 30, 'all, by the other';
    note sprintf 'p50 %.1f ms, most %.1f ms', @ms[15, -1];
    cmp_ok $ms[-4], '<', 60, 'without waiting for the poll';
    $small->stop;
};

done_testing;
