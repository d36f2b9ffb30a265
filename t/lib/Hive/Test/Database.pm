package Hive::Test::Database;

# Database.pm: a private, empty cluster with the role `hive` and no schema,
# for tests of the migrations and statements themselves. Everything else uses
# Cluster.pm, whose databases are migrated already.

use strict;
use warnings;
use Cwd qw(abs_path);
use DBI;
use File::Basename qw(dirname);
use File::Temp ();
use IO::Handle;
use POSIX ();

my $top = abs_path(dirname(__FILE__) . '/../../../..');
my $bin = '/usr/lib/postgresql/15/bin';

# Postgres refuses to run as root.
sub as_owner {
    return $> == 0
        ? ('setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', @_)
        : @_;
}

sub quiet {
    my ($log, @command) = @_;
    my $pid = fork // die "fork: $!\n";
    if ($pid == 0) {
        open STDIN, '<', '/dev/null' or die;
        open STDOUT, '>>', $log or die;
        open STDERR, '>&', \*STDOUT or die;
        chdir '/';
        exec @command or exit 127;
    }
    waitpid $pid, 0;
    return $?;
}

sub new {
    my ($class) = @_;
    my $dir = File::Temp->newdir('hive-sql-XXXXXX', TMPDIR => 1);
    my $self = bless { dir => $dir, pid => $$ }, $class;
    if ($> == 0) {
        my ($uid, $gid) = (getpwnam 'postgres')[2, 3];
        chown $uid, $gid, "$dir" or die "chown: $!\n";
    }
    my $log = "$dir.log";
    for my $command (
        ["$bin/initdb", '-D', "$dir/data", '-A', 'trust', '-U', 'postgres', '-E', 'UTF8',
            '--locale=C.UTF-8', '--no-sync'],
        ["$bin/pg_ctl", '-D', "$dir/data", '-w', '-s', '-l', "$dir/log", '-o',
            "-k $dir -c listen_addresses='' -c fsync=off -c timezone=UTC", 'start'])
    {
        if (quiet($log, as_owner(@$command)) != 0) {
            my $said = `cat '$log' '$dir/log' 2>/dev/null`;
            unlink $log;
            die "$command->[0] failed:\n$said";
        }
    }
    unlink $log;
    $self->run('postgres', 'create role hive login');
    return $self;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{pid} != $$;    # a child of the test
    local ($?, $!);
    quiet('/dev/null', as_owner("$bin/pg_ctl", '-D', "$self->{dir}/data", '-m', 'immediate',
        '-w', 'stop'));
    return;
}

sub connect {
    my ($self, $database, $role) = @_;
    return DBI->connect("dbi:Pg:dbname=$database;host=$self->{dir};options=-csearch_path=cell0,hive",
        $role // 'hive', '', { RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1 });
}

# As the superuser; dies of an error.
sub run {
    my ($self, $database, @statements) = @_;
    my $db = $self->connect($database, 'postgres');
    $db->do($_) for @statements;
    $db->disconnect;
    return;
}

sub create {
    my ($self, $database) = @_;
    $self->run('postgres', "create database $database");
    return;
}

# Runs sqitch in sql/; returns whether it succeeded and what it said. A child
# of this process does, which has it loaded: that takes longer than its work.
sub sqitch {
    my ($self, $database, $command, @options) = @_;
    require App::Sqitch;
    require "App/Sqitch/$_.pm" for qw(Engine/pg Command/deploy Command/revert Command/verify Command/status);
    my $log = File::Temp->new;
    my $pid = fork // die "fork: $!\n";
    if ($pid == 0) {
        open STDIN, '<', '/dev/null' or POSIX::_exit(2);
        open STDOUT, '>:utf8', "$log" or POSIX::_exit(2);
        open STDERR, '>&', \*STDOUT or POSIX::_exit(2);
        $_->autoflush for \*STDOUT, \*STDERR;
        chdir "$top/sql" or POSIX::_exit(2);
        # no configuration of the caller's account
        %ENV = (%ENV, SQITCH_USER_CONFIG => '/dev/null', SQITCH_SYSTEM_CONFIG => '/dev/null',
            SQITCH_FULLNAME => 'Test', SQITCH_EMAIL => 'test@localhost', PGTZ => 'UTC');
        @ARGV = ($command, map({ split / / } @options), "db:pg://postgres\@/$database?host=$self->{dir}");
        POSIX::_exit(eval { App::Sqitch->go } // 2);    # nothing of the parent's ends here
    }
    waitpid $pid, 0;
    my $status = $?;
    open my $fh, '<:utf8', "$log" or die "$log: $!\n";
    return ($status == 0, do { local $/; <$fh> } // '');
}

# The schema as text, without what sqitch keeps for itself.
sub dump {
    my ($self, $database) = @_;
    my $text = `$bin/pg_dump -s -N sqitch -h $self->{dir} -U postgres $database`;
    die "pg_dump failed\n" if $?;
    $text =~ s/^\\(?:un)?restrict .*\n//mg;    # a random word, in newer minors
    my $registry = $self->connect($database, 'postgres');
    my ($acl) = $registry->selectrow_array(<<'END');
        select string_agg(a, E'\n' order by a) from (
            select 'schema ' || unnest(nspacl)::text as a from pg_namespace where nspname = 'sqitch'
            union all
            select relname || ' ' || unnest(relacl)::text from pg_class
            where relnamespace = (select oid from pg_namespace where nspname = 'sqitch')
        ) t where a like '%hive%'
END
    $registry->disconnect;
    return $text . ($acl // '') . "\n";
}

# Runs a file of pgTAP tests; returns its output.
sub pgtap {
    my ($self, $database, $file) = @_;
    return `PGOPTIONS='-csearch_path=cell0,hive,tap -cclient_min_messages=warning' psql -X -qAt -v ON_ERROR_STOP=1 -h $self->{dir} -U postgres -d $database -f '$file' 2>&1`;
}

# The named statements of sql/queries/$file, with $1.. as DBD::Pg takes them.
sub queries {
    my ($self, $file) = @_;
    open my $fh, '<', "$top/sql/queries/$file" or die "$file: $!\n";
    my (%text, $name);
    while (<$fh>) {
        if (/^-- name: (\S+)/) { $name = $1; next }
        next if /^\s*--/;
        $text{$name} .= $_ if defined $name;
    }
    return \%text;
}

1;
