# a huge upload, a slow reader and a thousand slow senders: memory stays
# bounded and others do not wait for them

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Time::HiRes qw(time sleep);
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use File::Temp ();
use Hive::Test;
use Hive::Fault;

my $hive = Hive::Test->start(workers => 2, nginx_workers => 2, bench => 1);
my $dir = File::Temp->newdir;
my $accounts = Hive::Fault::accounts($hive, "$dir/accounts");
my ($token) = do { open my $fh, '<', $accounts or die; split ' ', <$fh> };

sub rss {
    my $kb = 0;
    for my $pid ($hive->nginx_pids, $hive->worker_pids) {
        open my $fh, '<', "/proc/$pid/status" or next;
        while (<$fh>) { $kb += $1 if /^VmRSS:\s+(\d+)/ }
    }
    return $kb / 1024;
}

sub connection {
    my (%o) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $hive->port, Timeout => 5, %o) or die "connect: $!";
    return $s;
}

# p99 of others while $fn runs, against before.
sub others {
    my ($name, $fn) = @_;
    my $measure = sub {
        my ($tag, $during) = @_;
        my $finish = Hive::Fault::run_load($hive, $accounts, "$dir/$tag", rate => 500, seconds => 4, prefix => $tag);
        $during->() if $during;
        $finish->();
        my $rows = Hive::Fault::journal("$dir/$tag");
        my @failed = grep { $_->{status} !~ /^20[01]$/ } @$rows;
        is(scalar @failed, 0, "$name: others are served ($tag)");
        return Hive::Fault::p99(@$rows);
    };
    (my $tag = $name) =~ s/\W+/-/g;
    my $before = $measure->("before-$tag");
    my $during = $measure->("during-$tag", $fn);
    my $bound = 2 * $before > 25 ? 2 * $before : 25;
    note sprintf '%s: p99 of others %.1f ms before, %.1f ms during', $name, $before, $during;
    cmp_ok($during, '<=', $bound, "$name: others' p99 within twice");
}

# Sends a body of that many bytes until answered; returns status and bytes sent.
sub upload {
    my ($headers, $total, $chunked) = @_;
    my $s = connection();
    print $s "POST /api/v1/projects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $token\r\nContent-Type: application/json\r\n$headers\r\n";
    $s->blocking(0);
    my $block = 'x' x 65536;
    $block = sprintf("%x\r\n%s\r\n", length $block, $block) if $chunked;
    my ($sent, $answer, $until) = (0, '', time + 20);
    local $SIG{PIPE} = 'IGNORE';
    while (time < $until) {
        my $n = sysread $s, my $buf, 65536;
        last if defined $n && $n == 0;
        $answer .= $buf if $n;
        last if $answer =~ /\r\n\r\n/;
        my $w = $sent < $total ? syswrite $s, $block : 0;
        if ($w) { $sent += $w; $block = substr($block, $w) . substr($block, 0, $w) if !$chunked; next if !$chunked; $block = substr($block, $w) . substr($block, 0, $w) }
        else { sleep 0.001 }
    }
    return ($answer =~ /^HTTP\/1\.1 (\d+)/ ? $1 : 0, $sent);
}

subtest 'an upload of 1 GB is refused by limit' => sub {
    my $rss = rss();
    my $t = time;
    my ($status, $sent) = upload('Content-Length: 1073741824' . "\r\n", 1 << 30);
    is($status, 413, 'announced: 413');
    cmp_ok(time - $t, '<', 2, 'at once');
    cmp_ok($sent, '<', 64 << 20, "before it was sent ($sent bytes went out)");
    ($status, $sent) = upload("Transfer-Encoding: chunked\r\n", 1 << 30, 1);
    is($status, 413, 'chunked: 413');
    cmp_ok($sent, '<', 64 << 20, "soon ($sent bytes went out)");
    cmp_ok(rss() - $rss, '<', 16, 'memory is bounded');
};

subtest 'a slow reader of a streamed reply' => sub {
    my ($user) = $hive->psql("select id from hive.users where email = 'fault1\@example.test'") =~ /([0-9a-f-]{36})/;
    # one word each, which full text passes over
    $hive->psql(<<"SQL");
insert into cell0.projects (id, owner_id, name, description)
select ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, '$user', 'big-' || i, repeat('x', 9000)
from generate_series(1, 4000) i;
analyze cell0.projects;
SQL
    my $rss = rss();
    my $s = connection();
    setsockopt $s, SOL_SOCKET, SO_RCVBUF, pack('i', 65536);
    print $s "GET /api/v1/projects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $token\r\nAccept: application/x-ndjson\r\nConnection: close\r\n\r\n";
    my $text = '';
    others('slow reader', sub {
        for (1 .. 15) { sysread $s, my $buf, 2048; $text .= $buf; sleep 0.2 }
    });
    cmp_ok(rss() - $rss, '<', 16, 'memory is bounded while it waits');
    my $until = time + 60;
    while (time < $until && sysread $s, my $buf, 1 << 18) { $text .= $buf }
    like($text, qr/^HTTP\/1\.1 200/, 'it gets its answer');
    my $lines = () = $text =~ /"name":"big-/g;
    is($lines, 4000, 'whole, at its own pace');
    like($text, qr/\r\n0\r\n\r\n\z/, 'and properly ended');
};

subtest 'a thousand slow senders' => sub {
    my $rss = rss();
    my @slow;
    for my $i (1 .. 1000) {
        my $s = connection();
        if ($i % 2) { print $s "POST /api/v1/projects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $token\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{\"name\":\"" }
        else { print $s "GET /api/v1/projects HTTP/1.1\r\nHost" }
        push @slow, $s;
    }
    others('slow senders', sub {
        for (1 .. 6) { syswrite $_, 'x' for @slow; sleep 0.6 }
    });
    cmp_ok(rss() - $rss, '<', 32, 'memory is bounded');
    close $_ for @slow;
    sleep 0.5;
    is($hive->in_flight, 0, 'nothing is left in flight');
};

$hive->stop;
done_testing;
