# dev.t: ./dev up, up again, status, down: a copy of its own, started and
# stopped as a newcomer does, also where paths are long or closed.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use File::Temp ();
use Hive::Test;
use Hive::Test::Process;
use Mojo::UserAgent;
use Test::More;

plan skip_all => 'sanitizer and coverage builds are not what ./dev up starts' if $ENV{HIVE_BUILD};

my $base = File::Temp::tempdir('dev-XXXXXX', DIR => Hive::Test::Cluster::base(), CLEANUP => 0);
chmod 0755, $base;
my $port = Hive::Test::free_port();
my $ua = Mojo::UserAgent->new;
my $var;

sub dev {
    my (@arguments) = @_;
    local $ENV{HIVE_VAR} = $var;
    local $ENV{HIVE_PORT} = $port;
    my $said = `'$Bin/../dev' @arguments </dev/null 2>&1`;
    return ($? >> 8, $said);
}

sub pids {
    my %pids;
    for my $name (qw(postgres worker nginx)) {
        open my $fh, '<', "$var/pids/$name" or next;
        ($pids{$name}) = split ' ', scalar <$fh>;
    }
    return \%pids;
}

sub up_and_down {
    my ($where) = @_;
    my ($status, $said) = dev('up');
    is $status, 0, "$where: up" or return diag $said;
    like $said, qr{http://127\.0\.0\.1:$port/setup#token=[0-9a-f]{64}}, 'with the link for the first administrator';
    is $ua->get("http://127.0.0.1:$port/health/ready")->res->code, 200, 'ready';
    my $first = pids();

    my $began = time;
    ($status, $said) = dev('up');
    is $status, 0, 'up again';
    cmp_ok time - $began, '<', 20, 'takes seconds';
    is_deeply pids(), $first, 'and restarts nothing';

    for my $file (glob "$var/secrets/*") {
        is sprintf('%o', (stat $file)[2] & 07777), '600', "$file is for its owner only";
    }
    for my $name (qw(postgres worker)) {
        next if $> != 0;
        isnt +(stat "/proc/$first->{$name}")[4], 0, "$name does not run as root";
    }
    ($status) = dev('status');
    is $status, 0, 'status says so';

    my @all = map { $_, Hive::Test::Process::descendants($_) } values %$first;
    ($status, $said) = dev('down');
    is $status, 0, 'down' or diag $said;
    is_deeply [Hive::Test::Process::running(@all)], [], 'and every process is gone'
        or diag `ps -o pid,ppid,stat,args -p @{[join ',', @all]}`;
    is_deeply pids(), {}, 'forgotten too';
    ($status) = dev('status');
    is $status, 1, 'status says that';
    return;
}

subtest 'an ordinary place' => sub {
    $var = "$base/var";
    up_and_down('ordinary');
};

subtest 'killed, then up' => sub {
    my ($status, $said) = dev('up');
    is $status, 0, 'up' or diag $said;
    my $before = pids();
    my @workers = Hive::Test::Process::children($before->{worker});
    kill 'KILL', $before->{worker}, $before->{nginx};
    ($status, $said) = dev('up');
    is $status, 0, 'up after kill -9 of both masters' or diag $said;
    is_deeply [Hive::Test::Process::running(@workers)], [], 'whose orphans are gone';
    is $ua->get("http://127.0.0.1:$port/health/ready")->res->code, 200, 'ready';
};

subtest 'what is not ours is left alone' => sub {
    my $sleeper = fork // die;
    if (!$sleeper) { exec 'sleep', '60' }
    my ($line) = do { open my $fh, '<', "$var/pids/worker" or die; <$fh> };
    my @fields = split ' ', $line;
    kill 'TERM', $fields[0];
    Hive::Test->wait_for(20, sub { !kill 0, $fields[0] });
    open my $fh, '>', "$var/pids/worker" or die;
    print $fh join(' ', $sleeper, @fields[1 .. $#fields]), "\n";
    close $fh;
    dev('down');
    ok kill(0, $sleeper), 'a pid that another process has now is not signalled';
    kill 'KILL', $sleeper;
    waitpid $sleeper, 0;
};

subtest 'a guessable secret' => sub {
    open my $fh, '>', "$var/secrets/token.key" or die;
    print $fh 'change-me-before-you-go-live-0123456789';
    close $fh;
    my ($status, $said) = dev('up');
    is $status, 1, 'is refused';
    like $said, qr/token\.key is a placeholder.*to mend it: remove/s, 'and said how to mend it';
    dev('down');
};

subtest 'a port that is taken' => sub {
    unlink "$var/secrets/token.key";
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1) or die "$port: $@";
    my ($status, $said) = dev('up');
    is $status, 1, 'is an error';
    like $said, qr/port $port is taken: HIVE_PORT=/, 'that says what to do';
    dev('down');
};

subtest 'a long place' => sub {
    $var = "$base/" . 'long-' x 20 . 'var';
    up_and_down('long');
    dev('down');
    my $run = readlink "$var/run";
    like $run, qr{^/tmp/hive-}, 'has a short folder for its sockets';
    system 'rm', '-rf', $run if $run =~ m{^/tmp/hive-\w+$};
};

subtest 'a place that the service user may not enter' => sub {
    plan skip_all => 'only root has another user for its services' if $> != 0;
    mkdir "$base/closed", 0700 or die $!;
    $var = "$base/closed/var";
    up_and_down('closed');
    my $elsewhere = readlink $var;
    like $elsewhere, qr{^/var/lib/hive-dev/\d+$}, 'is a link to one that it may';
    system 'rm', '-rf', $elsewhere if $elsewhere =~ m{^/var/lib/hive-dev/\d+$};
};

END {
    my $status = $?;
    if ($base) {
        for my $place (glob("$base/*var"), "$base/closed/var") {
            next unless -d $place;
            $var = $place;
            dev('down');
        }
        system 'rm', '-rf', $base;
    }
    $? = $status;
}

done_testing;
