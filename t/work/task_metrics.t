# task_metrics.t: /metrics tells how many tasks there are, how long they wait
# and run, and how attempts end: of all workers together, never going back
# when one of them or nginx is replaced, in a bounded number of series.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Test::More;
use Time::HiRes qw(sleep time);

my $hive = Hive::Test->start(workers => 2, nginx_workers => 2);
my $ada = $hive->register;

sub add {
    my ($kind, %o) = @_;
    my $res = $hive->post('/api/v1/tasks', $ada, { kind => $kind, %o });
    $res->code == 201 or die 'add: ' . $res->code . ' ' . $res->body;
    return $res->json->{id};
}

sub claim {
    my ($kind, %o) = @_;
    return @{ $hive->post('/api/v1/tasks/claim', $ada, { kinds => [$kind], %o })->json->{tasks} };
}

sub report {
    my ($verb, $task, %o) = @_;
    return $hive->post("/api/v1/tasks/$task->{id}/$verb", $ada, { lease_token => $task->{lease_token}, %o });
}

# Waits until the series has that value. How many there are is asked for less
# often the longer the answer takes, so on a busy machine it may be a while.
sub shows {
    my ($series, $value, $name) = @_;
    my $is;
    $hive->wait_for(40, sub { $is = $hive->metrics->{$series}; defined $is && ref $value ? $value->($is) : ($is // '') eq $value })
        or diag "$series is " . ($is // 'absent');
    return ok defined $is && (ref $value ? $value->($is) : $is eq $value), $name // $series;
}

subtest 'tasks that run here' => sub {
    add('noop') for 1 .. 20;
    add('sleep', input => { ms => 30 }) for 1 .. 3;
    add('sleep', input => { ms => 0, fail => 9 }, max_attempts => 2, backoff_ms => 10);
    shows('hive_tasks_enqueued_total{kind="noop"}', 20);
    shows('hive_tasks_enqueued_total{kind="sleep"}', 4);
    shows('hive_task_attempts_total{kind="noop",outcome="succeeded"}', 20);
    shows('hive_task_attempts_total{kind="sleep",outcome="succeeded"}', 3);
    shows('hive_task_attempts_total{kind="sleep",outcome="failed"}', 2);
    shows('hive_task_claim_seconds_count{kind="noop"}', 20);
    shows('hive_task_run_seconds_count{kind="sleep"}', 5);
    shows('hive_task_run_seconds_sum{kind="sleep"}', sub { $_[0] >= 0.09 && $_[0] < 5 }, 'seconds that they ran');
    shows('hive_task_run_seconds_bucket{kind="sleep",le="0.025"}', 2);
    shows('hive_task_run_seconds_bucket{kind="sleep",le="+Inf"}', 5);
};

subtest 'tasks of runners' => sub {
    add('remote') for 1 .. 4;
    add('remote', run_at => '2100-01-01T00:00:00Z');
    my @tasks = claim('remote', max => 3);
    report('complete', $tasks[0]);
    report('fail', $tasks[1], error => { code => 'x' }, final => Mojo::JSON->true);
    shows('hive_tasks_enqueued_total{kind="remote"}', 5);
    shows('hive_task_claim_seconds_count{kind="remote"}', 3);
    shows('hive_task_attempts_total{kind="remote",outcome="succeeded"}', 1);
    shows('hive_task_attempts_total{kind="remote",outcome="failed"}', 1);
    shows('hive_task_run_seconds_count{kind="remote"}', 2);
    shows('hive_tasks{kind="remote",state="ready"}', 1);
    shows('hive_tasks{kind="remote",state="running"}', 1);
    shows('hive_tasks{kind="remote",state="scheduled"}', 1);
    shows('hive_tasks{kind="noop",state="ready"}', 0, 'none left of another kind');
    shows('hive_task_oldest_ready_seconds{kind="remote"}', sub { $_[0] > 5 && $_[0] < 120 }, 'the age of the oldest');
    report('complete', $tasks[2]);
    report('complete', $_) for claim('remote');
    shows('hive_tasks{kind="remote",state="ready"}', 0);
    shows('hive_task_oldest_ready_seconds{kind="remote"}', 0);
};

subtest 'leases that are lost' => sub {
    # both processes look for them, and one counts
    add('lost', max_attempts => 1) for 1 .. 20;
    is scalar(claim('lost', lease_ms => 1000, max => 20)), 20, 'claimed';
    shows('hive_task_leases_lost_total', 20);
    shows('hive_task_attempts_total{kind="lost",outcome="lost"}', 20);
};

# What begins anew is taken for a reset by whoever adds up rates.
subtest 'nothing goes back' => sub {
    my @counters = grep { /^hive_task\w*_(?:total|count|sum|bucket)/ } keys %{ $hive->metrics };
    ok @counters > 20, scalar(@counters) . ' series';
    my (%last, @back);
    my $watch = sub {
        my ($while) = @_;
        my $until = time + 10;
        do {
            my $now = $hive->metrics;
            for (@counters) {
                my $is = $now->{$_} // 'absent';
                push @back, "$_: $last{$_}, then $is" if defined $last{$_} && ($is eq 'absent' || $is < $last{$_});
                $last{$_} = $is if $is ne 'absent';
            }
            sleep 0.02;
        } while ($while->() && time < $until);
    };
    my $some = time + 1.5;
    $watch->(sub { time < $some });
    is "@back", '', 'while nothing happens, whichever nginx worker is asked';

    for my $pid ($hive->worker_pids) {
        add('noop');
        $hive->kill_worker('KILL', $pid);
        $watch->(sub { !$hive->wait_up(0) });
        is "@back", '', 'when a worker is killed';
        @back = ();
    }
    $hive->reload_workers;
    $watch->(sub { !$hive->wait_up(0) });
    is "@back", '', 'when the workers are reloaded';
    @back = ();
    add('noop');
    shows('hive_tasks_enqueued_total{kind="noop"}', 23, 'they go on from there');

    $hive->reload_nginx;
    ok $hive->wait_for(3, sub { defined $hive->metrics->{'hive_task_leases_lost_total'} }), 'there after a reload of nginx';
    $some = time + 1.5;
    $watch->(sub { time < $some });
    is "@back", '', 'and as they were';
};

subtest 'kinds without bound' => sub {
    add("kind.$_") for 1 .. 80;
    add('x' x 150);
    ok $hive->wait_for(12, sub { ($hive->metrics->{'hive_tasks_enqueued_total{kind="other"}'} // 0) >= 31 }), 'some are others';
    ok $hive->wait_for(12, sub { $hive->metric('hive_tasks', qr/state="ready"/) == 81 }), 'all are counted';
    my %kinds = map { /^hive_tasks_enqueued_total\{kind="(.*)"\}/ ? ($1 => 1) : () } keys %{ $hive->metrics };
    is scalar(keys %kinds), 51, 'fifty have a name';
    is $hive->metric('hive_tasks_enqueued_total', qr/kind="(?:kind\.|other)/), 81, 'none is lost';
};

subtest 'the text' => sub {
    my $res = $hive->get('/metrics');
    my (%type, %seen, @wrong);
    for (split /\n/, $res->body) {
        if (/^# TYPE (\S+) (counter|gauge|histogram)$/) { push @wrong, $_ if $type{$1}++ }
        elsif (/^# HELP (\S+) \S/) { }
        elsif (/^([a-z_]+)(?:\{[a-z_]+="(?:[^"\\\n]|\\.)*"(?:,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})? [0-9.e+-]+$/) {
            my $family = $1;
            $family =~ s/_(?:bucket|sum|count)$// if !$type{$family};
            push @wrong, "no TYPE: $_" unless $type{$family};
            my ($series) = /^(.*) /;
            push @wrong, "twice: $_" if $seen{$series}++;
        }
        else { push @wrong, $_ }
    }
    is "@wrong", '', 'is what Prometheus reads';
};

$hive->stop;
done_testing;
