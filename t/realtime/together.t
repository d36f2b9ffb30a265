# together.t: an event goes to many connections at once (hive_live_io_uring),
# among them some that do not read, some that are gone, some that compress;
# and the same one by one

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Hive::Test::Publisher;
use Hive::WebSocket;
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;

my ($rounds, $each, $size) = (70, 20, 4000);
my $noise = join '', map { chr 97 + rand 26 } 1 .. 2 * $size;

for my $how (qw(on off)) {
    subtest "hive_live_io_uring $how" => sub {
        my $hive = Hive::Test->start(workers => 1, nginx_workers => 1,
            http => "hive_live_io_uring $how;\nhive_live_queue 1m;\nhive_live_queue_events 60000;");
        my $ada = $hive->register;
        my $channel = 'project:' . $hive->post('/api/v1/projects', $ada, { name => 'Many' })->json->{id};
        my ($nginx) = $hive->nginx_pids;
        my $ring = grep { (readlink($_) // '') =~ /io_uring/ } glob "/proc/$nginx/fd/*";
        if ($how eq 'off') {
            ok !$ring, 'there is none';
        }
        else {
            ok $ring || $hive->log('nginx') =~ /no io_uring, live clients are sent to one by one/, 'is there, or said not to be';
            note 'this kernel gives none' unless $ring;
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

        my $wrong;
        for my $round (1 .. $rounds) {
            if ($round == 5) {
                for my $ws (@gone) {
                    setsockopt $ws->{socket}, SOL_SOCKET, SO_LINGER, pack 'II', 1, 0 or die "setsockopt: $!";
                    $ws->drop;
                }
            }
            my @said = map { substr $noise, rand $size, $size } 1 .. $each;
            $publisher->say($_) for @said;
            for my $i (0 .. $#reading) {
                for my $data (@said) {
                    my $event = $reading[$i]->recv(5) // {};
                    $wrong //= "reader $i: " . substr(JSON::PP->new->canonical->encode($event), 0, 200)
                        if ($event->{data} // '') ne $data;
                }
            }
            last if $wrong;
        }
        is $wrong, undef, 'who reads gets each event, whole and in order';
        my ($slow) = $hive->get('/metrics')->body =~ /^hive_live_slow_total (\d+)/m;
        is $slow, @stuck, 'who does not read is found, and closed';
        for my $ws (@stuck) {
            my $n = 0;
            while (my $m = $ws->recv(5)) { last if exists $m->{close}; $n++ }
            cmp_ok $n, '<', $rounds * $each, "it has got $n";
        }
        $publisher->end;
        $hive->stop;
    };
}

done_testing;
