"""
The frozen facts that monitoring tools rely on: settings in the order of SHOW CONFIG, and the
columns of every SHOW, as PgBouncer 1.25.2 has them.
"""

# Letters of the column types: (OID, length).
TYPES = {"t": (25, -1), "i": (23, 4), "q": (20, 8), "N": (1700, -1), "b": (17, -1)}

SOCKET_COLUMNS = (
    "type:t user:t database:t replication:t state:t addr:t port:i local_addr:t local_port:i "
    "connect_time:t request_time:t wait:i wait_us:i close_needed:i ptr:t link:t remote_pid:i "
    "tls:t application_name:t prepared_statements:i id:i")

COUNTERS = ("server_assignment_count xact_count query_count {received} {sent} xact_time query_time "
            "wait_time {parse}client_parse_count {parse}server_parse_count {parse}bind_count")


def counters(prefix, received, sent, parse=""):
    names = COUNTERS.format(received=received, sent=sent, parse=parse).split()
    return " ".join("%s%s:N" % (prefix, name) for name in names)


SHOW_COLUMNS = {
    "CLIENTS": SOCKET_COLUMNS,
    "SERVERS": SOCKET_COLUMNS,
    "POOLS": (
        "database:t user:t cl_active:i cl_waiting:i cl_active_cancel_req:i "
        "cl_waiting_cancel_req:i sv_active:i sv_active_cancel:i sv_being_canceled:i sv_idle:i "
        "sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i pool_mode:t "
        "load_balance_hosts:t"),
    "DATABASES": (
        "name:t host:t port:i database:t force_user:t pool_size:i min_pool_size:i "
        "reserve_pool_size:i server_lifetime:i pool_mode:t load_balance_hosts:t "
        "max_connections:i current_connections:i max_client_connections:i "
        "current_client_connections:i paused:i disabled:i"),
    "USERS": (
        "name:t pool_size:t reserve_pool_size:t pool_mode:t max_user_connections:i "
        "current_connections:i max_user_client_connections:i current_client_connections:i"),
    "LISTS": "list:t items:i",
    "STATS": " ".join((
        "database:t", counters("total_", "received", "sent"), counters("avg_", "recv", "sent"))),
    "STATS_TOTALS": "database:t " + counters("", "bytes_received", "bytes_sent"),
    "STATS_AVERAGES": "database:t " + counters("", "bytes_received", "bytes_sent", "avg_"),
    "TOTALS": "name:t value:N",
    "CONFIG": "key:t value:t default:t changeable:t",
    "STATE": "key:t value:t",
    "VERSION": "version:t",
    "MEM": "name:t size:i used:i free:i memtotal:i",
    # PgBouncer does not have these.
    "PAUSES": (
        "database:t target_session_attrs:t state:t since:t until:t timeout:t until_switchover:i "
        "user:t addr:t port:i servers:i waiting:i"),
}

TOTALS = [prefix + name for prefix in ("total_", "avg_") for name in COUNTERS.format(
    received="client_bytes", sent="server_bytes", parse="ps_").split()]

LISTS = ("databases users peers pools peer_pools free_clients used_clients login_clients "
         "free_servers used_servers dns_names dns_zones dns_queries dns_pending").split()

HELP = "\n\t" + "\n\t".join((
    "SHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION",
    "SHOW PEERS|PEER_POOLS",
    "SHOW FDS|SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE",
    "SHOW DNS_HOSTS|DNS_ZONES",
    "SHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS",
    "SET key = arg",
    "RELOAD",
    "PAUSE [<db>]",
    "RESUME [<db>]",
    "DISABLE <db>",
    "ENABLE <db>",
    "RECONNECT [<db>]",
    "KILL [<db>]",
    "KILL_CLIENT <client_id>",
    "SUSPEND",
    "SHUTDOWN",
    "SHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS",
    "WAIT_CLOSE [<db>]",
))


def columns(item):
    """[(name, OID, length)] of a SHOW."""
    return [(name, *TYPES[kind]) for name, kind in
            (word.split(":") for word in SHOW_COLUMNS[item].split())]


# name, default (None: there is none), changeable while it runs
SETTINGS = (
    ("admin_users", "", "yes"),
    ("application_name_add_host", "0", "yes"),
    ("auth_dbname", None, "yes"),
    ("auth_file", None, "yes"),
    ("auth_hba_file", "", "yes"),
    ("auth_ident_file", None, "yes"),
    ("auth_ldap_options", None, "yes"),
    ("auth_query", "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END"
     " FROM pg_authid WHERE rolname=$1 AND rolcanlogin", "yes"),
    ("auth_type", "md5", "yes"),
    ("auth_user", None, "yes"),
    ("autodb_idle_timeout", "3600", "yes"),
    ("cancel_wait_timeout", "10", "yes"),
    ("client_idle_timeout", "0", "yes"),
    ("client_login_timeout", "60", "yes"),
    ("client_tls13_ciphers", None, "yes"),
    ("client_tls_ca_file", "", "yes"),
    ("client_tls_cert_file", "", "yes"),
    ("client_tls_ciphers", "default", "yes"),
    ("client_tls_dheparams", "auto", "yes"),
    ("client_tls_ecdhcurve", "auto", "yes"),
    ("client_tls_key_file", "", "yes"),
    ("client_tls_protocols", "secure", "yes"),
    ("client_tls_sslmode", "disable", "yes"),
    ("conffile", None, "yes"),
    ("default_pool_size", "20", "yes"),
    ("disable_pqexec", "0", "no"),
    ("dns_max_ttl", "15", "yes"),
    ("dns_nxdomain_ttl", "15", "yes"),
    ("dns_zone_check_period", "0", "yes"),
    ("idle_transaction_timeout", "0", "yes"),
    ("ignore_startup_parameters", "", "yes"),
    ("job_name", "pgbouncer", "no"),
    ("listen_addr", "", "no"),
    ("listen_backlog", "128", "no"),
    ("listen_port", "6432", "no"),
    ("log_connections", "1", "yes"),
    ("log_disconnections", "1", "yes"),
    ("log_pooler_errors", "1", "yes"),
    ("log_stats", "1", "yes"),
    ("logfile", "", "yes"),
    ("login_notify_message", "", "yes"),
    ("max_client_conn", "100", "yes"),
    ("max_db_client_connections", "0", "yes"),
    ("max_db_connections", "0", "yes"),
    ("max_packet_size", "2147483647", "yes"),
    ("max_prepared_statements", "200", "yes"),
    ("max_user_client_connections", "0", "yes"),
    ("max_user_connections", "0", "yes"),
    ("min_pool_size", "0", "yes"),
    ("peer_id", "0", "yes"),
    ("pidfile", "", "no"),
    ("pkt_buf", "4096", "no"),
    ("pool_mode", "session", "yes"),
    ("pool_idle_timeout", "0", "yes"),
    ("query_timeout", "0", "yes"),
    ("query_wait_notify", "5", "yes"),
    ("query_wait_timeout", "120", "yes"),
    ("reserve_pool_size", "0", "yes"),
    ("reserve_pool_timeout", "5", "yes"),
    ("resolv_conf", "", "no"),
    ("sbuf_loopcnt", "5", "yes"),
    ("scram_iterations", "4096", "yes"),
    ("server_check_delay", "30", "yes"),
    ("server_check_query", "<empty>", "yes"),
    ("server_connect_timeout", "15", "yes"),
    ("server_fast_close", "0", "yes"),
    ("server_idle_timeout", "600", "yes"),
    ("server_lifetime", "3600", "yes"),
    ("server_login_retry", "15", "yes"),
    ("server_reset_query", "DISCARD ALL", "yes"),
    ("server_reset_query_always", "0", "yes"),
    ("server_round_robin", "0", "yes"),
    ("server_tls13_ciphers", None, "yes"),
    ("server_tls_ca_file", "", "yes"),
    ("server_tls_cert_file", "", "yes"),
    ("server_tls_ciphers", "default", "yes"),
    ("server_tls_key_file", "", "yes"),
    ("server_tls_protocols", "secure", "yes"),
    ("server_tls_sslmode", "prefer", "yes"),
    ("so_reuseport", "0", "no"),
    ("stats_period", "60", "yes"),
    ("stats_users", "", "yes"),
    ("suspend_timeout", "10", "yes"),
    ("syslog", "0", "yes"),
    ("syslog_facility", "daemon", "yes"),
    ("syslog_ident", "pgbouncer", "yes"),
    ("tcp_defer_accept", "1", "yes"),
    ("tcp_keepalive", "1", "yes"),
    ("tcp_keepcnt", "0", "yes"),
    ("tcp_keepidle", "0", "yes"),
    ("tcp_keepintvl", "0", "yes"),
    ("tcp_socket_buffer", "0", "yes"),
    ("tcp_user_timeout", "0", "yes"),
    ("track_extra_parameters", "IntervalStyle", "no"),
    ("transaction_timeout", "0", "yes"),
    ("unix_socket_dir", "/tmp", "no"),
    ("unix_socket_group", "", "no"),
    ("unix_socket_mode", "0777", "no"),
    ("user", None, "no"),
    ("verbose", None, "yes"),
)

# Settings that PgBouncer does not have.
OWN_SETTINGS = [
    "auth_delay_max",
    "auth_query_cache_ttl",
    "max_client_prepared_memory",
    "max_prepared_memory",
    "max_prepared_statement_size",
    "max_server_connections",
    "max_waiting_clients",
    "prepare_unnamed",
    "prepared_statement_errors",
    "server_protocol",
    "server_reset_query_mode",
    "server_tls_negotiation",
    "track_startup_parameters",
    "warn_session_features",
]
