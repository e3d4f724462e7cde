"""An Airflow DAG that refreshes a graph every night."""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    dag_id="kgrec_refresh",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
) as dag:
    refresh = BashOperator(
        task_id="refresh",
        bash_command="kgrec refresh /srv/shop.lbug --source /srv/export --log json || [ $? -ne 3 ] || exit 99",
        skip_on_exit_code=99,
    )
    prune = BashOperator(task_id="prune", bash_command="kgrec runs prune /srv/shop.lbug --keep 7")
    refresh >> prune
