# together.t: an event goes to many connections at once (hive_live_io_uring),
# among them some that do not read, some that are gone, some that compress;
# and the same one by one, when that is configured, when the kernel gives no
# io_uring, and when it fails later

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use File::Temp ();
use Hive::Test;
use Hive::Test::Publisher;
use Hive::WebSocket;
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;

my ($rounds, $each, $size) = (70, 20, 4000);
my $noise = join '', map { chr 97 + rand 26 } 1 .. 2 * $size;
my $dir = File::Temp->newdir;
chmod 0755, "$dir";

# In the place of a function of liburing, which is the kernel's to fail.
sub instead {
    my ($name, $body) = @_;
    open my $fh, '>', "$dir/$name.c" or die;
    print $fh "#include <errno.h>\n#include <liburing.h>\n$body\n";
    close $fh;
    system('gcc', '-shared', '-fPIC', '-o', "$dir/$name.so", "$dir/$name.c", '-ldl') == 0 or BAIL_OUT("$name.c does not compile");
    return "$dir/$name.so";
}

my $none = instead(none => 'int io_uring_queue_init(unsigned n, struct io_uring *ring, unsigned flags) { return -EPERM; }');
my $fails = instead(fails => <<'END');
#define _GNU_SOURCE
#include <dlfcn.h>
int
io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
    static int calls;
    int (*real)(struct io_uring *, unsigned) = dlsym((void *) -1L, "io_uring_submit_and_wait");

    return ++calls == 30 ? -ENOMEM : real(ring, n);
}
END

sub has_ring {
    my ($hive) = @_;
    my ($nginx) = $hive->nginx_pids;
    return scalar grep { (readlink($_) // '') =~ /io_uring/ } glob "/proc/$nginx/fd/*";
}

my $given = 1;
for my $way (
    ['io_uring', 1, 1],
    ['off', 0, 0, 'hive_live_io_uring off;'],
    ['refused', 0, 0, '', $none, qr/no io_uring, live clients are sent to one by one/],
    ['failing', 1, 0, '', $fails, qr/io_uring_submit_and_wait\(\) failed \(12: /],
) {
    my ($name, $before, $after, $http, $preload, $said) = @$way;
    subtest $name => sub {
        plan skip_all => 'this kernel gives no io_uring' if $before && !$given;
        my $hive = Hive::Test->start(workers => 1, nginx_workers => 1, nginx_preload => $preload, allow => [$said // ()],
            http => ($http // '') . "\nhive_live_queue 1m;\nhive_live_queue_events 60000;");
        my $ada = $hive->register;
        my $channel = 'project:' . $hive->post('/api/v1/projects', $ada, { name => 'Many' })->json->{id};
        if ($name eq 'io_uring' && !has_ring($hive)) {
            $given = 0;
            like $hive->log('nginx'), qr/no io_uring, live clients are sent to one by one/, 'the log says that there is none';
        }
        else {
            is has_ring($hive), $before, $before ? 'there is one' : 'there is none';
        }

        my $publisher = Hive::Test::Publisher->new($hive, $channel);
        my $connect = sub {
            my $ws = Hive::WebSocket->connect(port => $hive->port, path => '/ws', headers => ["Authorization: Bearer $ada->{token}"], @_);
            $ws->recv(5);
            $ws->send_json({ type => 'subscribe', channel => $channel });
            $ws->recv(5)->{type} eq 'subscription_confirmed' or die 'not confirmed';
            return $ws;
        };
        my @reading = map { $connect->(deflate => $_ % 3 == 0) } 1 .. 6;
        my @stuck = map { $connect->() } 1 .. 2;
        my @gone = map { $connect->() } 1 .. 2;

        my ($wrong, @all);
        for my $round (1 .. $rounds) {
            if ($round == 5) {
                for my $ws (@gone) {
                    setsockopt $ws->{socket}, SOL_SOCKET, SO_LINGER, pack 'II', 1, 0 or die "setsockopt: $!";
                    $ws->drop;
                }
            }
            my @said = map { substr $noise, rand $size, $size } 1 .. $each;
            $publisher->say($_) for @said;
            push @all, @said;
            for my $i (0 .. $#reading) {
                for my $data (@said) {
                    my $event = $reading[$i]->recv(5) // {};
                    $wrong //= "reader $i, round $round: " . substr(JSON::PP->new->canonical->encode($event), 0, 200)
                        if ($event->{data} // '') ne $data;
                }
            }
            last if $wrong;
        }
        is $wrong, undef, 'who reads gets each event, whole and in order';
        my ($slow) = $hive->get('/metrics')->body =~ /^hive_live_slow_total (\d+)/m;
        is $slow, @stuck, 'who does not read is found, and closed';
        for my $ws (@stuck) {
            my ($n, $whole) = (0, 1);
            while (my $m = $ws->recv(5)) { last if exists $m->{close}; $whole &&= $m->{data} eq $all[$n++] }
            ok $whole && $n < @all, "it has got the first $n, whole";
        }
        if ($said) {
            like $hive->log('nginx'), $said, 'the log says why';
            is has_ring($hive), $after, 'and there is none now';
        }
        $publisher->end;
        $hive->stop;
    };
}

done_testing;
