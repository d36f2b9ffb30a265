package Hive::Fault;

# Fault.pm: faults under load at half of capacity, and what must hold: every
# acknowledged write present exactly once, no answer of another request, no
# try past its deadline, latency back after a while, no request left behind
# in a gauge.
#
#     fault_test({ name => '...', inject => sub { my ($hive, $round) = @_; ... } }, ...);
#
# Each fault is done HIVE_FAULT_ROUNDS times, one fault after the other to the
# same Hive, and each round is judged. In the suite, where it is not set: twice,
# and while latency is not back in the usual round up to six times, since the
# machine may stall.

use strict;
use warnings;
use Exporter 'import';
use Test::More;
use Time::HiRes qw(time sleep);
use File::Temp ();
use Hive::Test;

our @EXPORT = qw(fault_test);

my $deadline = 5;

# A fault: inject => sub ($hive, $round): does it and returns once it is over;
# lasts => seconds inject takes at most (what it does not take is watched
# afterwards); recover => seconds until latency must be back (1); lossless => no request
# may fail at all; allow => [patterns] the logs may hold.
sub fault_test {
    my @faults = map { { lasts => 1, recover => 1, lossless => 0, %$_ } } @_;
    my $hive = Hive::Test->start(workers => 2, nginx_workers => 2, bench => 1,
        ini => { auth => { access_ttl => '12h' } },    # twenty rounds outlast a token
        http => join("\n", map { "    hive_deadline $_ ${deadline}s;" } qw(read write auth)));
    my $dir = File::Temp->newdir(CLEANUP => 1);
    my $accounts = accounts($hive, "$dir/accounts");
    my ($head, $tail) = $ENV{HIVE_FAULT_ROUNDS} ? (9, 8) : (4, 3);    # a round that is judged by itself is watched for longer

    run_load($hive, $accounts, "$dir/capacity", rate => 0, seconds => 3, prefix => 'capacity')->();
    my $whole = journal("$dir/capacity");
    my $rate = int(@$whole / 3 / 2);
    cmp_ok($rate, '>', 20, "half of capacity is $rate requests a second") or return $hive->stop;

    for my $number (0 .. $#faults) {
        my $o = $faults[$number];
        $hive->allow(@{ $o->{allow} }) if $o->{allow};
        for my $round (1 .. $ENV{HIVE_FAULT_ROUNDS} // 6) {
            last if !$ENV{HIVE_FAULT_ROUNDS} && $round > 2 && back(usual($o));
            my $prefix = sprintf 'f%d-r%d-%d', $number, $round, $$;
            my $path = "$dir/journal.$number.$round";
            my $began = time;
            my $finish = run_load($hive, $accounts, $path, rate => $rate, prefix => $prefix, seconds => 120, until_asked => 1);
            sleep $head;
            my $struck = time;
            $o->{inject}->($hive, $round);
            my $over = time;
            my $early = $o->{lasts} - ($over - $struck);
            sleep $o->{recover} + $tail + ($early > 0 ? $early : 0);
            my $totals = $finish->();
            check_round($hive, $o, "$o->{name}, round $round", journal($path), $totals, $prefix, $began, $struck, $over, $path, $rate);
        }
        latency_back($o);
    }
    $hive->stop;
    return;
}

# Below 10 ms time slices decide.
sub back {
    my ($before, $after) = @_;
    return $after <= 2 * $before || $after <= 10;
}

# Before and after, over all rounds.
sub usual {
    my ($o) = @_;
    return map { my $i = $_; median(map { $_->[$i] } @{ $o->{latency} }) } 0, 1;
}

sub latency_back {
    my ($o) = @_;
    my ($before, $after) = usual($o);
    ok(back($before, $after), sprintf '%s: p99 is back %d s after the fault (usually %.1f ms before, %.1f ms after)',
        $o->{name}, $o->{recover}, $before, $after)
        or diag join ', ', map { sprintf '%.1f ms before and %.1f after', @$_ } @{ $o->{latency} };
    return;
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[$#sorted / 2] // 0;
}

# Eight users, each with a project whose name says whose it is.
sub accounts {
    my ($hive, $path) = @_;
    open my $fh, '>', $path or die;
    for my $i (1 .. 8) {
        my $token = $hive->account("fault$i\@example.test");
        my $tx = $hive->ua->post($hive->url('/api/v1/projects') => { Authorization => "Bearer $token" }
            => json => { name => "anchor-$i" });
        die 'no project: ' . $tx->res->body unless $tx->res->code == 201;
        print $fh join(' ', $token, $tx->res->json->{id}, "anchor-$i"), "\n";
    }
    close $fh;
    return $path;
}

# Starts the load; the returned sub waits for it and gives its totals. It goes
# on for that many seconds; with until_asked, until then at most.
sub run_load {
    my ($hive, $accounts, $journal, %o) = @_;
    my $binary = $hive->build . '/t/fault_load';
    my $pid = open my $out, '-|', $binary, '-p', $hive->port, '-r', $o{rate}, '-s', $o{seconds}, '-c', 64,
        '-t', $accounts, '-j', $journal, '-d', ($deadline + 0.5) * 1000, '-x', $o{prefix}
        or die "$binary: $!";
    return sub {
        kill TERM => $pid if $o{until_asked};
        my $line = do { local $/; <$out> };
        close $out;
        return { map { split /=/ } split ' ', $line // '' };
    };
}

sub journal {
    my ($path) = @_;
    open my $fh, '<', $path or die "$path: $!";
    my @rows;
    while (<$fh>) {
        my %r; @r{qw(due took kind status tries nonce id slowest)} = split;
        push @rows, \%r;
    }
    return \@rows;
}

sub p99 {
    my @sorted = sort { $a <=> $b } map { $_->{took} } @_;
    return @sorted ? $sorted[int(0.99 * $#sorted)] / 1000 : 0;
}

# The median of the p99s of each tenth of a second (or as long as 200 requests
# take): a stall of the machine spoils some, a Hive that has not recovered all
# of them. Whole seconds do not tell the two apart: there are hosts that slow
# any program down tenfold for 0.15 s every 1.5 s.
sub usual_p99 {
    my ($from, $to, $rate, @rows) = @_;
    my $width = $rate > 2000 ? 0.1 : 200 / $rate;
    my %window;
    for my $r (@rows) {
        my $at = int(($r->{due} / 1e6 - $from) / $width);
        push @{ $window{$at} }, $r if $r->{due} / 1e6 >= $from && $from + ($at + 1) * $width <= $to;
    }
    return median(map { p99(@$_) } values %window);
}

sub check_round {
    my ($hive, $o, $name, $rows, $totals, $prefix, $began, $struck, $over, $path, $rate) = @_;
    my %by; $by{$_->{status}}++ for @$rows;
    my $seen = join ' ', map { "$_:$by{$_}" } sort keys %by;
    note sprintf '%s: fault took %.2f s; %d requests, %s; retries %s', $name, $over - $struck, scalar @$rows, $seen, $totals->{retries} // '?';

    is($totals->{wrong}, 0, "$name: no answer of another request");
    is($totals->{late}, 0, "$name: no try past its deadline of $deadline s");
    my @odd = grep { $_->{status} !~ /^(200|201|502|503|504)$/ && !($_->{status} == 0 && $_->{kind} eq 'w') } @$rows;
    is(scalar @odd, 0, "$name: each request ends with a documented answer")
        or diag join "\n", map { "$_->{kind} status $_->{status} tries $_->{tries} due +" . ($_->{due} / 1e6 - $began) } @odd[0 .. ($#odd < 5 ? $#odd : 5)];
    if ($o->{lossless}) {
        is($totals->{refused}, 0, "$name: no request is refused, not even to be sent again");
        my @failed = grep { $_->{status} !~ /^20[01]$/ } @$rows;
        is(scalar @failed, 0, "$name: no request is lost ($seen)")
            or diag join "\n", map { sprintf '%s status %d tries %d due +%.3f took %.1f ms', @$_{qw(kind status tries)}, $_->{due} / 1e6 - $struck, $_->{took} / 1000 } @failed[0 .. ($#failed < 9 ? $#failed : 9)];
    }
    acknowledged($hive, $name, $rows, $prefix, $path);

    my $before = usual_p99($began + 0.9, $struck, $rate, @$rows);
    my $after = usual_p99($over + $o->{recover}, $over + 3600, $rate, @$rows);
    note sprintf '%s: p99 %.1f ms before, %.1f ms after', $name, $before, $after;
    push @{ $o->{latency} }, [$before, $after];
    if ($ENV{HIVE_FAULT_ROUNDS}) {
        ok(back($before, $after), sprintf '%s: p99 is back %d s after the fault (%.1f ms before, %.1f ms after)', $name, $o->{recover}, $before, $after);
    }
    my $left;
    for (1 .. 40) {
        $left = $hive->in_flight;
        last if $left == 0;
        sleep 0.1;
    }
    is($left, 0, "$name: nothing is left in flight");
    return;
}

# Each acknowledged write is there once, with one event; no write twice.
sub acknowledged {
    my ($hive, $name, $rows, $prefix, $path) = @_;
    my $copy = "$path.acked";
    open my $fh, '>', $copy or die;
    my $n = 0;
    for my $r (grep { $_->{status} == 201 } @$rows) {
        print $fh "$r->{nonce}\t$r->{id}\n";
        $n++;
    }
    close $fh;
    chmod 0644, $copy;
    my $dir = $path; $dir =~ s{/[^/]+$}{}; chmod 0755, $dir;
    my $answer = $hive->psql(<<"SQL");
create temp table acked (nonce text, id uuid);
\\copy acked from '$copy'
select 'missing=' || (select count(*) from acked a left join cell0.projects p on p.id = a.id and p.name = a.nonce where p.id is null)
  || ' twice=' || (select count(*) from (select 1 from cell0.projects where name like '$prefix-%' group by name having count(*) > 1) d)
  || ' events=' || (select count(*) from acked a where 1 <> (select count(*) from cell0.events e where e.channel = 'project:' || a.id));
SQL
    my ($found) = $answer =~ /(missing=.*)/;
    is($found, 'missing=0 twice=0 events=0', "$name: $n acknowledged writes, each there exactly once");
    return;
}

1;
