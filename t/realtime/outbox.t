# outbox.t: every change is an event with an offset, without a gap, in the order
# of commits; progress replaces itself; days go; an epoch says when offsets may
# have gone back. And what is published says the same.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Hive::Test::Hub;
use Hive::Test::Tasks;
use Test::More;

my $hive = Hive::Test->start(workers => 2, nginx_workers => 1);
my $hub = Hive::Test::Hub->new($hive);
my $tasks = Hive::Test::Tasks->new($hive);
my $ada = $hive->register;

sub sql { return $hive->psql("set search_path = cell0, hive;\n$_[0]") }

# The events of a task as "offset type" or "first-offset type".
sub story {
    my ($id) = @_;
    return sql(qq{select string_agg(case when first < "offset" then first || '-' else '' end || "offset" || ' ' || substr(type, 6), ', ' order by "offset") from task_events('$id')});
}

sub gap_free {
    my ($from) = @_;
    return sql(qq{select bool_and(coalesce(first, "offset") = coalesce(before, 0) + 1) from (
        select first, "offset", lag("offset") over (order by "offset") as before from $from) e});
}

subtest 'days' => sub {
    ok $hive->wait_for(10, sub { sql("select count(*) from partition_days where relation = 'events'") == 4 }), 'made for today and three days more';
    my $project = $hive->post('/api/v1/projects', $ada, { name => 'Days' })->json->{id};
    like sql("select tableoid::regclass from events where channel = 'project:$project'"), qr/^events_\d{8}$/, 'an event is in the partition of its day';
    is sql(q{select count(*) from pg_inherits where inhparent = 'events'::regclass}), 5, 'beside the default one';
};

subtest 'gap-free, in the order of commits' => sub {
    my $project = $hive->post('/api/v1/projects', $ada, { name => 'Race' })->json->{id};
    my $news = $hub->listen("project:$project");
    my @pids;
    for my $n (1 .. 4) {
        my $pid = fork // die;
        if (!$pid) {
            delete $hive->{ua};
            $hive->patch("/api/v1/projects/$project", $ada, { description => "$n $_" }) for 1 .. 25;
            require POSIX;
            POSIX::_exit(0);
        }
        push @pids, $pid;
    }
    waitpid $_, 0 for @pids;
    is sql("select event_seq from projects where id = '$project'"), 101, 'the row has the head';
    is sql("select count(*) from events where channel = 'project:$project'"), 101, 'each has its event';
    is gap_free("events where channel = 'project:$project'"), 't', 'without a gap';
    is sql(qq{select count(*) from (select (data->>'version')::int as v, "offset" from events where channel = 'project:$project') e where v <> "offset"}), 0,
        'the offset of a change is the order of its commit';
    my @heard = sort { $a <=> $b } map { $_->{offset} } $news->rest(1);
    is_deeply \@heard, [2 .. 101], 'all are published';
};

subtest 'what is published' => sub {
    my $news = $hub->listen('project:', 'control');
    my $project = $hive->post('/api/v1/projects', $ada, { name => 'Loud' })->json->{id};
    my $record = $news->next(5);
    is $record->{kind}, 'change', 'a change';
    is $record->{channel}, "project:$project", 'of its channel';
    is $record->{type}, 'project.created', 'with its type';
    is "$record->{offset} $record->{first}", '1 1', 'and place';
    like $record->{text}, qr/^\{"type":"project\.created","channel":"project:$project","offset":1,"data":\{"version": 1\},"timestamp":"[^"]+Z"\}$/, 'its text is what clients get';

    $hive->delete("/api/v1/projects/$project", $ada);
    is $news->next(5)->{type}, 'project.deleted', 'a deletion';
    my $control = $news->next(5);
    is_deeply [@$control{qw(kind channel type key)}], ['control', 'control', 'access', "project:$project"], 'has the hubs look who may watch';
};

subtest 'progress replaces itself' => sub {
    my $news = $hub->listen('task:');
    my $id = $tasks->add(kind => 'sleep', input => '{"ms": 1500, "progress": true}');
    is $tasks->ended($id), 'succeeded', 'a task that tells how far it is';
    like story($id), qr/^1 created, 2 running, 3-(\d+) progress, \d+ succeeded$/, 'has one event of progress';
    is sql("select count(*) from events where channel = 'task:$id'"), 0, 'of which none is a row';
    is gap_free("task_events('$id')"), 't', 'without a gap';
    my @progress = grep { $_->{channel} eq "task:$id" && $_->{type} eq 'task.progress' } $news->rest(1);
    cmp_ok scalar @progress, '>=', 3, 'each word is published';
    is_deeply [map { $_->{first} } @progress], [map { 3 } @progress], 'as what replaces all before';
    is_deeply [map { $_->{offset} } @progress], [3 .. 2 + @progress], 'at the next offset';
    is $progress[-1]{json}{first}, 3, 'which its text tells';
    ok !exists $progress[0]{json}{first}, 'when there are such';

    # a runner, whose task is changed between
    my $task = $hive->post('/api/v1/tasks', $ada, { kind => 'stepwise' })->json->{id};
    my $lease = $hive->post('/api/v1/tasks/claim', $ada, { kinds => ['stepwise'] })->json->{tasks}[0]{lease_token};
    my $say = sub {
        select undef, undef, undef, 0.3;
        my $res = $hive->post("/api/v1/tasks/$task/progress", $ada, { lease_token => $lease, progress => $_[0], message => "at $_[0]" });
        is $res->code, 200, "progress $_[0]";
    };
    $say->($_) for 0.1, 0.2;
    is story($task), '1 created, 2 running, 3-4 progress', 'two words are one event';
    $hive->patch("/api/v1/tasks/$task", $ada, { title => 'New' });
    $say->($_) for 0.3, 0.4, 0.5;
    is story($task), '1 created, 2 running, 3-4 progress, 5 updated, 6-8 progress', 'what happened between stays where it was';
    is sql(qq{select data->>'progress_message' from events where channel = 'task:$task' and type = 'task.progress'}), 'at 0.2', 'and the word before it is kept';
    is gap_free("task_events('$task')"), 't', 'without a gap';
    $hive->post("/api/v1/tasks/$task/fail", $ada, { lease_token => $lease, error => { code => 'x', message => 'x' }, final => Mojo::JSON->true });
    is story($task), '1 created, 2 running, 3-4 progress, 5 updated, 6-8 progress, 9 failed', 'the end';
    is $hive->post("/api/v1/tasks/$task/retry", $ada)->code, 200, 'tried again';
    is story($task), '1 created, 2 running, 3-4 progress, 5 updated, 6-8 progress, 9 failed, 10 retrying', 'nothing is forgotten';
    is gap_free("task_events('$task')"), 't', 'without a gap';
    my $events = $hive->get("/api/v1/tasks/$task/events", $ada)->json->{items};
    is_deeply [map { "$_->{first}-$_->{offset}" } @$events], [qw(1-1 2-2 3-4 5-5 6-8 9-9 10-10)], 'as people read it';

    my $run = $hive->post('/api/v1/runs', $ada, { steps => [map { { name => "s$_", kind => 'sleep', input => { ms => 100 * $_ } } } 1 .. 5] })->json->{id};
    ok $hive->wait_for(15, sub { sql("select state from runs where id = '$run'") eq 'succeeded' }), 'a run';
    like sql(qq{select string_agg(first || '-' || "offset" || ' ' || type, ', ' order by "offset") from (select coalesce(first, "offset") as first, "offset", type from run_events('$run')) e}),
        qr/^1-1 run\.created, 2-(\d) run\.progress, (\d)-\2 run\.succeeded$/, 'has one event of progress';
    is gap_free("run_events('$run')"), 't', 'without a gap';
};

subtest 'epoch' => sub {
    my $epoch = sub { return $hive->psql('select epoch from cell0.outbox_epoch', user => 'hive', @_) };
    my $first = $epoch->();
    like $first, qr/^[0-9a-f]{16}$/, 'a short text';
    is $epoch->(), $first, 'that stays';
    $hive->restart_postgres;
    is $epoch->(), $first, 'when the server is restarted';
    $hive->restart_postgres('KILL');
    is $epoch->(), $first, 'and when it has crashed';
    my $new = sql('select outbox_renew()');
    isnt $new, $first, 'it is renewed by hand';
    is $epoch->(), $new, 'for all';
    ok !defined eval { $hive->psql('select cell0.outbox_renew()', user => 'hive') }, 'by the owner only';
    ok !defined eval { $hive->psql('select mark from cell0.outbox', user => 'hive') }, 'who keeps it';

    my $dir = $hive->dir;
    my $dump = "$dir/outbox.sql";
    my @as = ('-h', $hive->pg_host, '-U', 'postgres');
    is system("$Hive::Test::Cluster::bin/pg_dump", @as, '-f', $dump, 'hive'), 0, 'a dump';
    $hive->psql('create database restored', database => 'postgres');
    is system("$Hive::Test::Cluster::bin/psql @as -Xq -v ON_ERROR_STOP=1 -d restored -f $dump >$dir/restore.log 2>&1"), 0, 'restored elsewhere';
    isnt $hive->psql('select epoch from cell0.outbox_epoch', database => 'restored'), $new, 'has another';
    is sql("select mark from outbox"), $hive->psql('select mark from cell0.outbox', database => 'restored'), 'though its mark is the same';
};

subtest 'sign-in' => sub {
    my $eve = $hive->register;
    $hive->login($eve);
    is sql(qq{select string_agg("offset" || ' ' || type, ', ' order by "offset") from events where channel = 'user:$eve->{id}'}), '1 user.signed_in, 2 user.signed_in', 'is an event of the user';
    is sql("select event_seq from channels where channel = 'user:$eve->{id}'"), 2, 'counted in the channel itself';
    is sql(qq{select count(*) from events e join sessions s on s.id = (e.data->>'session_id')::uuid where e.channel = 'user:$eve->{id}'}), 2, 'and tells of the session';
};

$hive->stop;
done_testing;
