# hivectl.t: the command line as people and scripts use it.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use File::Temp ();
use Hive::Test;
use IO::Socket::INET;
use POSIX ();
use Mojo::JSON qw(decode_json encode_json);
use Test::More;
use Time::HiRes qw(sleep time);

my $hive = Hive::Test->start(workers => 2, nginx_workers => 1, ini => { llm => { echo_rate => 200 } });
$hive->load_models;
my $home = File::Temp->newdir;
my $hivectl = $hive->build . '/hivectl';
my $password = "$home/password";
Hive::Test::spew($password, "a long walk by the sea\n");

# Exit status, standard output, standard error.
sub run {
    my (@args) = @_;
    local %ENV = (PATH => $ENV{PATH}, HOME => "$home", HIVE_URL => $hive->url, %Hive::Test::Cli::env);
    my ($out, $err) = map { "$home/$_" } qw(out err);
    my $pid = fork // die;
    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', $out; open STDERR, '>', $err;
        { no warnings; exec $hivectl, @args }
        POSIX::_exit(127);
    }
    waitpid $pid, 0;
    my $status = $? >> 8;
    $status = 'signal ' . ($? & 127) if $? & 127;
    return ($status, Hive::Test::slurp($out), Hive::Test::slurp($err));
}
sub ok_run { my ($status, $out, $err) = run(@_); is $status, 0, "hivectl @_[0 .. ($#_ > 2 ? 2 : $#_)]" or diag "$out$err"; return $out }

# ---- before anything ----

my ($status, $out, $err) = run('whoami');
is $status, 3, 'not signed in';
like $err, qr/nobody is signed in.*hivectl login/, 'and what to do';
($status, $out, $err) = run();
is $status, 2, 'nothing to do';
like $out, qr/First steps:.*Exit codes:/s, 'is help';
for ([qw(help swarm)], [qw(swarm --help)], [qw(--help)], [qw(swarm run --help)]) { like ok_run(@$_), qr/usage: hivectl/, 'help' }
($status, $out, $err) = run('dance');
is $status, 2, 'a command that is none';
for ([qw(swarm status --help)], [qw(whoami -h)], [qw(completion --help)]) { like ok_run(@$_), qr/usage: hivectl \Q$_->[0]/, 'help, wherever it is asked for' }
is((run('swarm', 'shutdown', 'team', '--force=no'))[0], 2, 'an option that takes no value');
is((run('swarm', 'run', 'team', 'x', '--max-tokens', '10k'))[0], 2, 'a number that is none');
like +(run('swarm', 'run', 'team', "caf\xe9"))[2], qr/is not UTF-8/, 'an argument that is no text';
for ([qw(projects dance)], [qw(swarm)], [qw(swarm dance)], [qw(tasks create)], [qw(login --colour)], [qw(models --all x y)], [qw(usage x)]) {
    is((run(@$_))[0], 2, "wrong arguments: @$_");
}
is((run('--url', 'ftp://x', 'whoami'))[0], 2, 'an address that is none');
is((run('--url', 'http://127.0.0.1:1', 'login', '--email', 'a@example.org', '--password-file', $password))[0], 5, 'nobody answers there');

# Somebody else answers there.
{
    my $other = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die;
    my $url = 'http://127.0.0.1:' . $other->sockport;
    my $pid = fork // die;
    if (!$pid) {
        while (my $c = $other->accept) {
            my $head = '';
            while (defined(my $line = <$c>)) { $head .= $line; last if $line eq "\r\n" }
            if (my ($n) = $head =~ /^Content-Length: (\d+)/mi) { read $c, my $body, $n }
            my ($status, $body) = $head =~ m{/auth/refresh} ? ('429 Too Many', '') : $head =~ m{/auth/} ? ('200 OK', '<html>') : ('301 Moved', '');
            print $c "HTTP/1.1 $status\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
        }
        POSIX::_exit(0);
    }
    ($status, $out, $err) = run('--url', $url, 'login', '--email', 'a@example.org', '--password-file', $password);
    is "$status $out", '5 ', 'a page is no sign-in';
    like $err, qr/does not answer as Hive does \(status 200\)/, 'and said so';
    mkdir $_ for "$home/old", "$home/old/hive";
    Hive::Test::spew("$home/old/hive/credentials.json", encode_json({ $url => { access_token => 'a.b.c', refresh_token => 'x', expires_at => 1 } }));
    {
        local %Hive::Test::Cli::env = (XDG_CONFIG_HOME => "$home/old");
        ($status, $out, $err) = run('--url', $url, 'whoami');
        is $status, 5, 'a session that cannot be renewed just now';
        like $err, qr/the session cannot be renewed now \(status 429\)/, 'and said so';
    }
    local %Hive::Test::Cli::env = (HIVE_TOKEN => 'a.b.c');
    like +(run('--url', $url, 'projects'))[2], qr/does not answer as Hive does \(status 301\)/, 'nor is a redirection an answer';
    kill TERM => $pid;
    waitpid $pid, 0;
}

# ---- signing in ----

ok_run('login', '--email', 'ada@example.org', '--register', 'Ada', '--password-file', $password);
my $kept = "$home/.config/hive/credentials.json";
is sprintf('%o', (stat $kept)[2] & 0777), '600', 'the token is for its owner alone';
like ok_run('whoami'), qr/Ada.*ada\@example\.org/s, 'it is Ada';
is decode_json(ok_run('--json', 'whoami'))->{email}, 'ada@example.org', 'as JSON too';
my $all = decode_json(Hive::Test::slurp($kept));
my $before = $all->{ $hive->url }{refresh_token};
$all->{ $hive->url }{expires_at} = 1;
Hive::Test::spew($kept, encode_json($all));
ok_run('whoami');
isnt decode_json(Hive::Test::slurp($kept))->{ $hive->url }{refresh_token}, $before, 'a token that ran out is renewed by itself';
is sprintf('%o', (stat $kept)[2] & 0777), '600', 'and kept as before';
Hive::Test::spew("$home/wrong", "another password\n");
($status, $out, $err) = run('login', '--email', 'ada@example.org', '--password-file', "$home/wrong");
is $status, 3, 'a wrong password';
like $err, qr/wrong/, 'is told';
{
    local %Hive::Test::Cli::env = (HIVE_TOKEN => 'a.b.c');
    is((run('whoami'))[0], 3, 'a token of the environment that is none');
}

# ---- things ----

my $project = decode_json(ok_run('projects', 'create', 'First', '--description', 'Of many', '--json'));
is $project->{name}, 'First', 'a project';
like ok_run('projects'), qr/^\Q$project->{id}\E\tFirst\tOf many\t/m, 'is listed, plain in a pipe';
like ok_run('projects', 'show', $project->{id}), qr/^NAME\s+First$/m, 'shown';
is ok_run('projects', 'rm', $project->{id}), '', 'removed';
ok_run('projects', 'create', "Caf\xc3\xa9");
like ok_run('projects'), qr/\tCaf\xc3\xa9\t/, 'letters are whole without a locale';
is((run('projects', 'show', $project->{id}))[0], 4, 'and gone');
my $task = decode_json(ok_run('tasks', 'create', 'sleep', '--input', '{"ms":1}', '--title', 'A nap', '--json'));
$hive->wait_for(10, sub { decode_json(ok_run('tasks', 'show', $task->{id}, '--json'))->{state} eq 'succeeded' });
like ok_run('tasks', 'ls', '--state', 'succeeded'), qr/A nap/, 'a task';
is((run('tasks', 'create', 'sleep', '--input', '{'))[0], 2, 'input that is no JSON');
is((run('tasks', 'cancel', $task->{id}))[0], 1, 'what cannot be cancelled is refused');
like ok_run('models'), qr/^echo\tyes\t/m, 'models';
unlike ok_run('models'), qr/claude-3-opus/, 'that are not retired';
like ok_run('models', '--all'), qr/claude-3-opus\S*\tretired/, 'unless asked for';
is decode_json(ok_run('models', 'echo'))->{id}, 'echo', 'one';

# ---- swarms ----

my $swarm = decode_json(ok_run('swarm', 'create', 'team', '--topology', 'hierarchical', '--agent', 'coordinator', '--agent', 'researcher',
    '--agent', 'coder:perl,sql', '--json'));
is $swarm->{agents}, 3, 'a swarm of three';
ok_run('swarm', 'spawn', 'team', 'tester');
like ok_run('swarm', 'agents', 'team'), qr/^coder-3\tcoder\tidle\techo\t0\t0\t0/m, 'its agents';
like ok_run('swarm', 'ls'), qr/\tteam\tactive\thierarchical\t4\techo/, 'is listed';
$out = ok_run('swarm', 'run', 'team', 'Build a boat', '--requirements', 'It floats');
like $out, qr/^\d\d:\d\d:\d\d run\.planned: \d steps$/m, 'a run, a line an event';
like $out, qr/step\.started .* by coordinator-1$/m, 'with who does what';
like $out, qr/\n\[echo: .*\n.*\nsucceeded: \d+ calls of models/s, 'its result and what it cost';
$out = ok_run('swarm', 'run', 'team', 'Sail', '--subtask', 'one', '--subtask', 'two', '--json');
my @lines = map { decode_json($_) } split /\n/, $out;
is $lines[-1]{state}, 'succeeded', 'as JSON: events, and the run at last';
is scalar(grep { ($_->{type} // '') eq 'step.succeeded' } @lines), 3, 'of two parts and the result';
ok scalar(grep { ($_->{type} // '') eq 'message.delta' } @lines), 'and what they wrote';
like ok_run('swarm', 'show', 'team'), qr/succeeded: 3 calls/, 'the latest one is shown';
like ok_run('swarm', 'status', 'team'), qr/^cost\s+\$0$/m, 'status';
like ok_run('usage', '--by', 'model'), qr/^echo\t/m, 'usage';

for (1 .. 101) { $hive->post('/api/v1/swarms', { token => decode_json(Hive::Test::slurp($kept))->{ $hive->url }{access_token} }, { name => "one of many $_" }) }
cmp_ok scalar(() = ok_run('swarm', 'ls') =~ /^/mg), '>', 101, 'a list is whole';
my $odd = decode_json(ok_run('swarm', 'create', 'R&D + more', '--json'));
is decode_json(ok_run('swarm', 'status', 'R&D + more', '--json'))->{id}, $odd->{id}, 'a name of any letters';
is decode_json(ok_run('swarm', 'status', 'team', '--json'))->{id}, $swarm->{id}, 'and one that a hundred newer ones stand before';
is((run('usage', '--from', '2026-01-01T00:00:00+01:00'))[0], 0, 'a time with its offset');
like +(run('tasks', 'ls', '--state', 'no&such'))[2], qr/state must be one of/, 'what is no state is refused as it was typed';

my $id = ok_run('swarm', 'run', 'team', 'A long one', '--detach', '--max-tokens', '4000');
chomp $id;
like $id, qr/^[0-9a-f-]{36}$/, 'detached, its id';
is((run('swarm', 'watch', 'team', $id))[0], 0, 'watched to its end');
$id = ok_run('swarm', 'run', 'team', 'Another', '--detach');
chomp $id;
ok_run('swarm', 'cancel', 'team', $id);
is((run('swarm', 'watch', 'team', $id))[0], 6, 'a cancelled one has a code of its own');
like ok_run('swarm', 'retry', 'team', $id), qr/Another/, 'tried again, it is shown to its end';
is((run('swarm', 'retry', 'team', $id))[0], 1, 'what has succeeded is not tried again');

# Who watches hears at once that it was cancelled and that it goes on.
$id = ok_run('swarm', 'run', 'team', 'Stopped and not', '--detach', '--max-tokens', '4000');
chomp $id;
{
    local %ENV = (PATH => $ENV{PATH}, HOME => "$home", HIVE_URL => $hive->url);
    my $pid = fork // die;
    if (!$pid) { open STDOUT, '>', "$home/again"; open STDERR, '>&', \*STDOUT; { no warnings; exec $hivectl, 'swarm', 'watch', 'team', $id } POSIX::_exit(127) }
    ok $hive->wait_for(10, sub { -s "$home/again" }), 'one that is watched';
    kill STOP => $pid;
    ok_run('swarm', 'cancel', 'team', $id);
    ok $hive->wait_for(10, sub { decode_json(ok_run('swarm', 'show', 'team', $id, '--json'))->{state} eq 'cancelled' }), 'and cancelled';
    ok_run('swarm', 'retry', 'team', $id, '--detach');
    kill CONT => $pid;
    waitpid $pid, 0;
    is $? >> 8, 0, 'is watched to its end when it is tried again' or diag Hive::Test::slurp("$home/again");
}
is((run('swarm', 'show', 'nobody'))[0], 4, 'no such swarm');

# The connection drops in the middle: the watcher goes on where it was.
{
    local %ENV = (PATH => $ENV{PATH}, HOME => "$home", HIVE_URL => $hive->url);
    my $pid = fork // die;
    if (!$pid) { open STDOUT, '>', "$home/watch"; open STDERR, '>&', \*STDOUT; { no warnings; exec $hivectl, 'swarm', 'run', 'team', 'Through a storm' } POSIX::_exit(127) }
    ok $hive->wait_for(10, sub { -s "$home/watch" }), 'one that is watched';
    $hive->allow(qr/exited on signal 9/);
    kill KILL => ($hive->nginx_pids)[0];
    waitpid $pid, 0;
    is $? >> 8, 0, 'whose connection drops ends well' or diag Hive::Test::slurp("$home/watch");
    my @seen = Hive::Test::slurp("$home/watch") =~ /^\S+ (step\.\w+ \S.*? by \S+?)(?::|$)/mg;
    my %times; $times{$_}++ for @seen;
    is_deeply [grep { $times{$_} > 1 } keys %times], [], 'nothing comes twice';
    is scalar(grep { /succeeded/ } @seen), scalar(grep { /started/ } @seen), 'and nothing is missing';
}

# nginx is away for longer than a request is tried.
{
    local %ENV = (PATH => $ENV{PATH}, HOME => "$home", HIVE_URL => $hive->url);
    my $pid = fork // die;
    if (!$pid) {
        open STDOUT, '>', "$home/away"; open STDERR, '>&', \*STDOUT;
        { no warnings; exec $hivectl, 'swarm', 'run', 'team', 'Away', '--strategy', 'sequential', map { ('--subtask', "leg $_") } 1 .. 30 }
        POSIX::_exit(127);
    }
    ok $hive->wait_for(10, sub { -s "$home/away" }), 'one that is watched';
    $hive->{processes}{nginx}->stop('TERM', 20);
    sleep 6;
    $hive->start_nginx;
    waitpid $pid, 0;
    is $? >> 8, 0, 'an outage is waited out' or diag Hive::Test::slurp("$home/away");
    is scalar(() = Hive::Test::slurp("$home/away") =~ /step\.succeeded/g), 31, 'and every event told';
}

like ok_run('completion', 'bash'), qr/complete -F _hivectl hivectl/, 'completion';
is system('bash', '-n', '-c', ok_run('completion', 'bash')), 0, 'is shell';
is((run('completion', 'fish'))[0], 2, 'for two shells');
ok_run('swarm', 'shutdown', 'team', '--force');
ok_run('logout');
is((run('whoami'))[0], 3, 'signed out');

$hive->stop;
done_testing;
