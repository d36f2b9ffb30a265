# kill -9 of workers around claims and finishes: no task is lost, none ends
# twice, and what a dead process ran begins again within 15 s; the same for a
# process that is stopped and comes back, and for a restart of Postgres

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Time::HiRes qw(sleep time);
use Mojo::Date;
use Hive::Test;

# 100 deaths in all under ./dev fault.
my $deaths = $ENV{HIVE_FAULT_ROUNDS} ? 25 : 2;
my @points = qw(before_claim after_claim before_finish_commit after_finish_commit);

my $hive = Hive::Test->start(workers => 2, nginx_workers => 1);
my $user = $hive->register;
my %made;               # ids of acknowledged tasks
my @stopped;            # the pid of a process that was only stopped

# Tasks of both sorts, at once and lasting; returns how many were acknowledged.
# A process that dies may take the answer with it, never the task.
sub add {
    my ($count, %more) = @_;
    my @items = map { {
        kind => $_ % 3 ? 'noop' : 'sleep', max_attempts => 100, backoff_ms => 50, input => $_ % 3 ? {} : { ms => int rand 60 }, %more,
    } } 1 .. $count;
    my $res = $hive->post('/api/v1/tasks/batch', $user, { action => 'create', items => \@items });
    return 0 unless ($res->code // 0) =~ /^2/;
    my @ids = $res->body =~ /"id":"([0-9a-f-]{36})"/g;
    $made{$_} = 1 for @ids;
    return scalar @ids;
}

# The deaths that the supervisor has told of: [pid, when].
sub dead {
    return map { /"time":"([^"]+)".*, pid (\d+), killed by signal 9/ ? [$2, Mojo::Date->new($1)->epoch] : () }
        split /\n/, $hive->log('worker');
}

# How long of that time at least one process was up: where all of them die
# young, the supervisor pauses before it starts the next, 5 s at most.
sub served {
    my ($from, $to) = @_;
    my (%since, @up);
    for (split /\n/, $hive->log('worker')) {
        my ($text, $pid) = /"time":"([^"]+)".*worker \d+[ab](?: started)?, pid (\d+)/ or next;
        my $at = Mojo::Date->new($text)->epoch;
        if (/ started,/) { $since{$pid} = $at }
        else { push @up, [delete $since{$pid}, $at] if $since{$pid} }
    }
    push @up, map { [$_, time] } values %since;
    my ($sum, $until) = (0, $from);
    for my $span (sort { $a->[0] <=> $b->[0] } @up) {
        my ($begin, $end) = ($span->[0] > $until ? $span->[0] : $until, $span->[1] < $to ? $span->[1] : $to);
        next if $end <= $begin;
        $sum += $end - $begin;
        $until = $end;
    }
    return $sum;
}

sub restart_workers {
    my ($fault) = @_;
    $hive->{processes}{worker}->stop('TERM', 40);
    $hive->{env} = $fault ? { HIVE_FAULT => $fault } : {};
    $hive->start_worker;
    return $hive->wait_ready;
}

sub left { return $hive->psql('select count(*) from cell0.tasks') }

my $n = 0;
for my $point (@points) {
    # each of five kinds looks once before the process is ready
    my $hit = 8 + int rand 12;
    restart_workers("$point:kill:$hit");
    my $before = () = dead();
    my $until = time + 30 + 3 * $deaths;
    while (time < $until && (() = dead()) - $before < $deaths) {
        $n += add(40);
        sleep 0.05;
    }
    cmp_ok((() = dead()) - $before, '>=', $deaths, "killed $point, at hit $hit of each process");
}

# Meanwhile, a process that is stopped while it runs tasks, and comes back.
restart_workers();
my @zombies;
subtest 'a process that comes back from the dead' => sub {
    my ($pid) = $hive->worker_pids;
    my $worker = $hive->psql("select id from cell0.task_workers where pid = $pid and dead_at is null order by started_at desc limit 1");
    $hive->wait_for(10, sub {
        $n += add(20, kind => 'sleep', input => { ms => 400 }, title => 'zombie');
        sleep 0.1;
        @zombies = split /\n/, $hive->psql("select id from cell0.tasks where worker_id = '$worker' and title = 'zombie' and worker_id is not null");
        return @zombies > 3;
    });
    kill STOP => $pid;
    push @stopped, $pid;
    @zombies = split /\n/, $hive->psql("select id from cell0.tasks where worker_id = '$worker' and title = 'zombie' and worker_id is not null");
    cmp_ok scalar @zombies, '>', 3, scalar(@zombies) . ' tasks run in it';
    my $in = join ',', map { "'$_'" } @zombies;
    my $again = $hive->wait_for(17, sub { $hive->psql("select count(*) from cell0.all_tasks where id in ($in) and attempt < 2") == 0 });
    ok $again, 'all of them begin again elsewhere';
    kill CONT => $pid;
    ok $hive->wait_for(20, sub { $hive->psql("select count(*) from cell0.task_history where id in ($in) and state = 'succeeded'") == @zombies }), 'and end';
    is $hive->psql("select count(*) from cell0.task_attempts where task_id in ($in) and outcome = 'lost' and worker_id = '$worker'"), @zombies, 'its own attempts are lost';
    ok $hive->wait_for(10, sub {
        $hive->psql("select count(*) from cell0.task_workers where pid = $pid and dead_at is null and id <> '$worker'") == 1
    }), 'it goes on as another';
};

subtest 'a restart of Postgres' => sub {
    $n += add(200);
    $n += add(50, kind => 'sleep', input => { ms => 300 });
    $hive->restart_postgres;
    ok $hive->wait_for(30, sub { ($hive->get('/health/ready')->code // 0) == 200 }), 'ready again';
    $n += add(50);
    ok $hive->wait_for(40, sub { left() == 0 }), 'every task ends' or diag $hive->psql('select state, count(*) from cell0.tasks group by 1');
};

subtest 'what is left of all that' => sub {
    cmp_ok scalar(keys %made), '>=', 400, scalar(keys %made) . ' tasks were acknowledged';
    open my $fh, '>', $hive->dir . '/made' or die;
    print $fh "$_\n" for keys %made;
    close $fh;
    my $path = $hive->dir . '/made';
    is $hive->psql(<<"SQL"), 'lost=0 failed=0 twice=0 events=0 gaps=0 half=0', 'each task has ended once, with success, and tells so once';
create temp table made (id uuid);
\\copy made from '$path'
with h as (select id, state, attempt, event_seq from cell0.task_history),
e as (select h.id, count(*) as n, max(e."offset") as last, count(*) filter (where e.type = 'task.succeeded') as ends
      from h cross join lateral cell0.task_events(h.id) e group by h.id)
select 'lost=' || (select count(*) from made m where not exists (select from h where h.id = m.id))
  || ' failed=' || (select count(*) from h where state <> 'succeeded')
  || ' twice=' || (select count(*) from (select from h group by id having count(*) > 1) d)
  || ' events=' || (select count(*) from h left join e on e.id = h.id where e.ends is distinct from 1)
  || ' gaps=' || (select count(*) from h join e on e.id = h.id where e.n <> e.last or e.last <> h.event_seq)
  || ' half=' || (select count(*) from cell0.tasks);
SQL

    # from the death of a process to the next attempt of what it ran
    my (%died, @slow);
    $died{ $_->[0] } = $_->[1] for dead();
    my $worst = 0;
    my $lost = $hive->psql(<<'SQL');
select a.task_id, w.pid, extract(epoch from n.started_at), extract(epoch from w.seen_at), extract(epoch from a.finished_at), a.attempt
from cell0.task_attempts a
join cell0.task_workers w on w.id = a.worker_id
cross join lateral (select min(started_at) as started_at
    from (select started_at, attempt from cell0.task_attempts where task_id = a.task_id
          union all select started_at, attempt from cell0.task_history where id = a.task_id) l
    where attempt > a.attempt) n    -- one that a worker gave back when it was told to stop left no row
where a.outcome = 'lost'
SQL
    my @lost = map { [split /\|/] } split /\n/, $lost;
    for my $row (@lost) {
        my ($id, $pid, $started, $seen, $reaped, $attempt) = @$row;
        my $death = $died{$pid} // $seen;
        my $after = $started - $death > 15 ? served($death, $started) : $started - $death;
        push @slow, sprintf '%s, attempt %d: taken for lost after %.1f s, the next begins after %.1f s, %.1f of them served', $id, $attempt, $reaped - $death, $started - $death, $after if $after > 15;
        $worst = $after if $after > $worst;
    }
    cmp_ok scalar @lost, '>', 0, scalar(@lost) . ' attempts died with their process';
    cmp_ok $worst, '<=', 15, sprintf 'the next attempt begins within 15 s of the death in which somebody lives (%.1f s at most)', $worst
        or diag scalar(@slow) . " slow ones:\n" . join "\n", @slow[0 .. ($#slow < 9 ? $#slow : 9)];
    note scalar(() = dead()) . ' processes were killed';
};

$hive->stop;
done_testing;
