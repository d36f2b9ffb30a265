package Bench;

# Bench.pm: what every bench needs: a load (wrk with ready-made requests), a
# pgbench run, CPU accounting by process group, and rows that stand beside
# their bars.

use strict;
use warnings;
use File::Temp ();
use File::Basename qw(dirname);
use Cwd qw(abs_path);
use IPC::Open3;
use JSON::PP ();
use POSIX ();

our $dir  = abs_path(dirname(__FILE__) . '/..');
our $tick = POSIX::sysconf(&POSIX::_SC_CLK_TCK);
our $pgbin = '/usr/lib/postgresql/15/bin';

my $scratch = File::Temp->newdir('hive-bench-XXXXXX', TMPDIR => 1);
chmod 0755, "$scratch";
sub scratch { "$scratch/$_[0]" }

# ---- CPU ----

# User and system seconds used so far by the processes and all below them.
sub cpu {
    my %want = map { $_ => 1 } grep { $_ } @_;
    my (%parent, %used);
    for my $stat (glob '/proc/[0-9]*/stat') {
        open my $fh, '<', $stat or next;
        my $line = <$fh> // next;
        my ($pid, $rest) = $line =~ /^(\d+) \(.*\) (.*)$/s or next;
        my @f = split ' ', $rest;
        $parent{$pid} = $f[1];
        $used{$pid} = $f[11] + $f[12] + $f[13] + $f[14];
    }
    my $sum = 0;
    for my $pid (keys %used) {
        my $p = $pid;
        my $depth = 0;
        while ($p && $depth++ < 20) {
            if ($want{$p}) { $sum += $used{$pid}; last }
            $p = $parent{$p};
        }
    }
    return $sum / $tick;
}

sub machine {
    open my $fh, '<', '/proc/stat' or die;
    my @v = (split ' ', scalar <$fh>)[1 .. 8];
    my $all = 0; $all += $_ for @v;
    return (($all - $v[3] - $v[4]) / $tick, $all / $tick);
}

# ---- load ----

# One HTTP request as bytes.
sub http_request {
    my ($method, $path, $headers, $body) = @_;
    my $text = "$method $path HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n";
    $text .= "$_: $headers->{$_}\r\n" for sort keys %{ $headers // {} };
    $text .= 'Content-Type: application/json' . "\r\nContent-Length: " . length($body) . "\r\n" if defined $body;
    return "$text\r\n" . ($body // '');
}

my $files = 0;
sub write_requests {
    my $path = scratch('requests.' . ++$files);
    open my $fh, '>:raw', $path or die "$path: $!";
    print $fh length($_), "\n", $_ for @_;
    close $fh or die;
    return $path;
}

# load(base => URL, requests => [..] or file => path, expect => 200,
#      connections => 64, seconds => 6, warm => 2, pids => {name => [..]})
# Returns a hash: rps (answers of the expected class), p50 p99 max in
# milliseconds, errors (anything unexpected, in warm-up and run), requests,
# body (mean bytes), cpu => {name => microseconds per request}, client, other
# (share of the machine used by none of these).
sub load {
    my %o = (connections => 64, seconds => 6, warm => 2, expect => 200, pids => {}, threads => 2, @_);
    my $file = $o{file} // write_requests(@{ $o{requests} });
    my $threads = $o{connections} < $o{threads} ? $o{connections} : $o{threads};
    my @wrk = ('wrk', "-t$threads", "-c$o{connections}", '--timeout', '10s', '-s', "$dir/replay.lua");
    my $run = sub {
        my ($seconds, $expect) = @_;
        local $ENV{REQUESTS} = $file;
        local $ENV{EXPECT} = $expect;
        my $out = run_command(@wrk, "-d${seconds}s", $o{base});
        my ($line) = $out =~ /^RESULT (.*)$/m or die "wrk against $o{base} gave no result:\n$out";
        return { map { split /=/, $_, 2 } split ' ', $line };
    };
    my $warm = $o{warm} ? $run->($o{warm}, $o{expect}) : { unexpected => 0, socket => 0, expected => 0, bytes => 0 };
    select undef, undef, undef, 0.3;
    my %before = map { $_ => cpu(@{ $o{pids}{$_} }) } keys %{ $o{pids} };
    my ($busy0, $all0) = machine();
    my $self0 = (times)[2] + (times)[3];
    my $r = $run->($o{seconds}, '');
    my $client = (times)[2] + (times)[3] - $self0;
    my ($busy1, $all1) = machine();
    my %used = map { $_ => cpu(@{ $o{pids}{$_} }) - $before{$_} } keys %before;
    my $known = $client; $known += $_ for values %used;
    my $n = $r->{requests} || 1;
    my $other = 100 * ($busy1 - $busy0 - $known) / (($all1 - $all0) || 1);
    return {
        rps => ($r->{requests} - $r->{status}) / $r->{seconds},
        requests => $r->{requests},
        (map { $_ => $r->{$_} / 1000 } qw(p50 p99 max)),
        errors => $r->{status} + $r->{socket} + $warm->{unexpected} + $warm->{socket},
        error_status => $warm->{other},
        body => $warm->{expected} ? $warm->{bytes} / $warm->{expected} : 0,
        cpu => { map { $_ => 1e6 * $used{$_} / $n } keys %used },
        client => 1e6 * $client / $n,
        other => $other < 0 ? 0 : $other,
    };
}

# pgbench(script => SQL text, clients => 16, seconds => 6, host, port, user, database)
# Returns rps, latency (mean, ms) and cpu (Postgres microseconds each, with
# postmaster => pid).
sub pgbench {
    my %o = (clients => 16, seconds => 6, @_);
    my $path = scratch('pgbench.' . ++$files . '.sql');
    open my $fh, '>', $path or die;
    print $fh $o{script};
    close $fh;
    my $jobs = $o{clients} > 1 ? 2 : 1;
    my @cmd = ("$pgbin/pgbench", '-n', '-M', 'prepared', '-c', $o{clients}, '-j', $jobs, '-f', $path,
        '-h', $o{host}, '-p', $o{port}, '-U', $o{user});
    run_command(@cmd, '-T', 1, $o{database});
    my $c0 = $o{postmaster} ? cpu($o{postmaster}) : 0;
    my $out = run_command(@cmd, '-T', $o{seconds}, $o{database});
    my $c1 = $o{postmaster} ? cpu($o{postmaster}) : 0;
    my ($tps) = $out =~ /^tps = ([\d.]+)/m or die "pgbench gave no result:\n$out";
    my ($failed) = $out =~ /failed transactions: (\d+)/;
    die "pgbench: $failed transactions failed\n$out" if $failed;
    my ($n) = $out =~ /actually processed: (\d+)/;
    my ($ms) = $out =~ /latency average = ([\d.]+) ms/;
    return { rps => $tps, latency => $ms, cpu => 1e6 * ($c1 - $c0) / $n };
}

sub run_command {
    my @cmd = @_;
    my $pid = open3(my $in, my $out, undef, @cmd);
    close $in;
    local $/;
    my $text = <$out>;
    waitpid $pid, 0;
    die "@cmd failed:\n$text" if $?;
    return $text;
}

# Runs each of the named subs `tries` times, in turn, and returns the better
# try of each by rps: a machine shared with others is only ever slower than
# it is, and what is compared should meet the same weather.
sub in_turn {
    my ($tries, %subs) = @_;
    my %best;
    for (1 .. $tries) {
        for my $name (sort keys %subs) {
            my $r = $subs{$name}->();
            $best{$name} = $r if !$best{$name} || $r->{rps} > $best{$name}{rps};
        }
    }
    return \%best;
}

# Waits until the rest of the machine is quiet (a second below `percent`
# busy), for so many seconds at most; says so when it is not.
sub wait_quiet {
    my ($percent, $seconds) = @_;
    for (1 .. $seconds) {
        my ($b0, $a0) = machine();
        select undef, undef, undef, 1;
        my ($b1, $a1) = machine();
        return 1 if 100 * ($b1 - $b0) <= $percent * ($a1 - $a0);
    }
    progress("the machine is busy with something else: figures will be worse than they are");
    return 0;
}

# ---- rows ----

my @rows;
our $quiet = 0;

# row(name, figure, unit, bar, direction ("min", "max"), note)
sub row {
    my ($name, $figure, $unit, $bar, $direction, $note) = @_;
    my $holds = !defined $bar ? undef
        : !defined $figure ? 0
        : $direction eq 'min' ? $figure >= $bar
        : $figure <= $bar;
    push @rows, { name => $name, figure => defined $figure ? $figure + 0 : undef, unit => $unit,
        bar => $bar, direction => $direction, holds => defined $holds ? ($holds ? 1 : 0) : undef, note => $note };
    return if $quiet;
    printf "%-52s %12s %-9s %-14s %-5s %s\n", $name,
        defined $figure ? format_figure($figure) : 'none', $unit,
        defined $bar ? ($direction eq 'min' ? 'at least ' : 'at most ') . $bar : '',
        !defined $holds ? '' : $holds ? 'ok' : 'SHORT', $note // '';
}

sub format_figure {
    my ($v) = @_;
    return $v >= 1000 ? sprintf('%.0f', $v) : $v >= 100 ? sprintf('%.1f', $v) : sprintf('%.3f', $v);
}

sub heading { print "\n$_[0]\n" unless $quiet }
sub progress { print STDERR "... $_[0]\n" }

# Prints what was asked for; returns the exit status.
sub finish {
    my %o = @_;
    my @short = map { $_->{name} } grep { defined $_->{holds} && !$_->{holds} } @rows;
    if ($o{json}) {
        print JSON::PP->new->canonical->pretty->encode({ rows => \@rows, short => \@short });
    }
    if ($o{check}) {
        print @short ? 'short: ' . join('; ', @short) . "\n" : "all bars hold\n";
        return @short ? 1 : 0;
    }
    return 0;
}

1;
