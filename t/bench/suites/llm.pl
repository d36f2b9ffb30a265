# llm.pl: what the model layer adds to a model: beside the same provider asked
# directly, and a thousand answers at once in one process.

use strict;
use warnings;
use Bench;
use Hive::Test;
use JSON::PP ();
use List::Util qw(min);
use Models;

my ($hive, $models, $user);

sub ask {
    my (%o) = @_;
    my @cmd = ('timeout', 200, $hive->build . '/t/model_load', '-u', $models->url, '-t', $o{times} // 1, '-p', $o{prompt});
    push @cmd, $o{direct} ? '-D' : ('-d', 'host=' . $hive->pg_host . ' dbname=hive user=hive', '-o', $user->{id}, '-n', $o{streams} // 1);
    my $said = Bench::run_command(@cmd);
    my ($json) = $said =~ /(\{.*\})/s or die "model_load said: $said\n";
    return JSON::PP::decode_json($json);
}

return sub {
    my ($o) = @_;
    my $want = sub { !defined $o->{only} || "@_" =~ /$o->{only}/i };
    Bench::heading('llm: the model layer beside its provider (model_stream, one thread)');
    $models = Models->start;
    $hive = Hive::Test->start(bench => 1, workers => 1, nginx_workers => 1, ini => { llm => $models->ini });
    $hive->load_models;
    $user = $hive->register;

    if ($want->('latency')) {
        my (@first, @late);
        for (1 .. 3) {
            my $own = ask(times => 300, prompt => 'RATE-0 COUNT-5');
            my $direct = ask(times => 300, prompt => 'RATE-0 COUNT-5', direct => 1);
            push @first, [$own->{first}{p50}, $direct->{first}{p50}];
            $own = ask(times => 3, prompt => 'RATE-100 COUNT-300');
            $direct = ask(times => 3, prompt => 'RATE-100 COUNT-300', direct => 1);
            push @late, [$own->{late}{p50}, $direct->{late}{p50}];
        }
        my $least = sub { min(map { $_->[0] - $_->[1] } @_) / 1000 };
        Bench::row('first token, added by Hive, median', $least->(@first), 'ms', 2, 'max',
            sprintf 'least of 3; %.3f ms, directly %.3f; its row of the ledger is committed before', $first[0][0] / 1000, $first[0][1] / 1000);
        Bench::row('each token, added by Hive, median', $least->(@late), 'ms', 0.3, 'max',
            sprintf 'least of 3; %.3f ms after it was sent, directly %.3f', $late[0][0] / 1000, $late[0][1] / 1000);
    }

    if ($want->('streams')) {
        my $r = ask(streams => 1000, prompt => 'RATE-50 COUNT-500');
        Bench::row('1,000 streams of 50 tokens/s: complete', 100 * $r->{pieces} / 500_000, '%', 100, 'min', "$r->{failed} failed");
        Bench::row('1,000 streams: memory of each', $r->{bytes} / 1024, 'kB', 40, 'max', sprintf 'RSS of the process while all stream; %.1f when all end at once', $r->{bytes_peak} / 1024);
        Bench::row('1,000 streams: longest stall', $r->{late}{max} / 1000, 'ms', 100, 'max',
            sprintf 'p50 %.2f ms, p99 %.2f ms after it was sent; %.2f of a core', $r->{late}{p50} / 1000, $r->{late}{p99} / 1000, $r->{cpu} / 10);
    }
    $hive->stop;
    $models->stop;
};
