// The JVM side: which Spark, Scala, Delta and Hadoop feedloop runs on, and the jars that spark-submit needs with the zip.
// Written to the plain Gradle API. check and test only call the door, which does the same alone.

import org.gradle.jvm.tasks.Jar

val sparkVersion = "4.0.5" // pyspark in requirements/spark.txt
val scalaVersion = "2.13" // the only Scala that Spark 4 is built for
val deltaVersion = "4.0.1" // follows Spark 4.0; the same jars stand in requirements/jars.sha256
val hadoopVersion = "3.4.1" // the one that Spark 4.0 brings: hadoop-aws must be of the same
val awsVersion = "2.29.52" // the last that puts no checksums of its own, which not every S3 server takes
val compilerVersion = "3.38.0" // runs on Java 17; the same in requirements/compiler.sha256

pluginManager.apply("lifecycle-base")

repositories.mavenCentral()

configurations.create("sparkJars") {
    // Spark brings its own Scala, its own modules, and what Hadoop and the SDK also want.
    for (group in listOf("org.apache.spark", "org.scala-lang", "io.netty", "org.apache.httpcomponents",
        "commons-codec", "commons-logging", "org.slf4j", "org.wildfly.openssl")) {
        exclude(mapOf("group" to group))
    }
    exclude(mapOf("group" to "software.amazon.awssdk", "module" to "bundle")) // the complete SDK, 500 MB
}
dependencies.add("sparkJars", "io.delta:delta-spark_$scalaVersion:$deltaVersion")
dependencies.add("sparkJars", "org.apache.hadoop:hadoop-aws:$hadoopVersion")
for (part in listOf("s3", "s3-transfer-manager", "sts", "apache-client", "netty-nio-client")) {
    dependencies.add("sparkJars", "software.amazon.awssdk:$part:$awsVersion")
}

configurations.create("sparkItself") // what jvm/ is compiled against and Spark has
dependencies.add("sparkItself", "org.apache.hadoop:hadoop-client-api:$hadoopVersion")
configurations.create("compiler") // set-up's, which any Java runs: the same class comes of both
dependencies.add("compiler", "org.eclipse.jdt:ecj:$compilerVersion")

tasks.register("compileLogStore", JavaExec::class.java) {
    group = "build"
    description = "Compiles jvm/, the log store by which Delta commits on S3."
    val against = configurations.getByName("sparkJars") + configurations.getByName("sparkItself")
    val classes = layout.buildDirectory.dir("classes")
    inputs.files(fileTree("jvm"), against)
    outputs.dir(classes)
    classpath = configurations.getByName("compiler")
    mainClass.set("org.eclipse.jdt.internal.compiler.batch.Main")
    args("--release", "17", "-g:source,lines", "-cp", against.asPath, "-d", classes.get().asFile.path, file("jvm").path)
}

tasks.register("logStoreJar", Jar::class.java) {
    group = "build"
    description = "Packs it as build/libs/feedloop-s3-log-store.jar."
    from(tasks.named("compileLogStore"))
    archiveFileName.set("feedloop-s3-log-store.jar")
    destinationDirectory.set(layout.buildDirectory.dir("libs"))
}

tasks.register("collectJars", Sync::class.java) {
    group = "build"
    description = "Collects the jars of Delta and S3 for Spark $sparkVersion, and our own, into build/jars."
    from(configurations.getByName("sparkJars"), tasks.named("logStoreJar"))
    into(layout.buildDirectory.dir("jars"))
}

tasks.register("quality", Exec::class.java) {
    group = "verification"
    description = "Lint, format and types: ./feedloop check."
    commandLine("./feedloop", "check")
}

tasks.register("test", Exec::class.java) {
    group = "verification"
    description = "The tests: ./feedloop test."
    commandLine("./feedloop", "test")
}

tasks.named("check") {
    dependsOn("quality", "test")
}
