package feedloop;

import io.delta.storage.CloseableIterator;
import io.delta.storage.HadoopFileSystemLogStore;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.util.Arrays;
import java.util.Iterator;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.s3a.S3AFileSystem;
import org.apache.hadoop.fs.s3a.S3AUtils;
import org.apache.hadoop.fs.s3a.impl.PutObjectOptions;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.PutObjectRequest;
import software.amazon.awssdk.services.s3.model.S3Exception;

/**
 * Stores Delta's log on S3 with conditional puts, so that one of two simultaneous writers fails, whether the other is
 * this class or delta-rs. Delta's own store checks before it puts, so two processes can lose a commit silently.
 *
 * <p>Spark takes it by {@code spark.delta.logStore.s3a.impl=feedloop.ConditionalPutLogStore}.
 */
public final class ConditionalPutLogStore extends HadoopFileSystemLogStore {
  private static final String WHAT = "commit to Delta's log";
  private static final int EXISTS = 412; // the condition does not hold
  private static final int AT_ONCE = 409; // another put of this key is under way: ask again
  private static final int ATTEMPTS = 10;
  private static final long PAUSE_MS = 50; // longer after each attempt

  public ConditionalPutLogStore(Configuration hadoop) {
    super(hadoop);
  }

  /** Writes the lines as one file; without {@code overwrite}, FileAlreadyExistsException where it exists. */
  @Override
  public void write(Path path, Iterator<String> lines, Boolean overwrite, Configuration hadoop) throws IOException {
    byte[] bytes = joined(lines);
    S3AFileSystem files = files(path, hadoop);
    try {
      PutObjectRequest.Builder put =
          files
              .getRequestFactory() // with the encryption and the storage class that fs.s3a.* ask for
              .newPutObjectRequestBuilder(
                  files.pathToKey(path), PutObjectOptions.keepingDirs(), bytes.length, false);
      if (overwrite) {
        client(files).putObject(put.build(), RequestBody.fromBytes(bytes));
      } else {
        create(files, path, put.ifNoneMatch("*").build(), bytes, hadoop);
      }
    } catch (SdkException error) {
      throw S3AUtils.translateException(WHAT, path, error);
    }
  }

  /** A put is atomic: Delta need not write a checkpoint under another name first. */
  @Override
  public Boolean isPartialWriteVisible(Path path, Configuration hadoop) {
    return false;
  }

  private void create(S3AFileSystem files, Path path, PutObjectRequest put, byte[] bytes, Configuration hadoop)
      throws IOException {
    for (int attempt = 1; ; attempt++) {
      try {
        client(files).putObject(put, RequestBody.fromBytes(bytes));
        return;
      } catch (S3Exception error) {
        if (error.statusCode() == EXISTS) {
          // The client repeats a put whose response was lost, and then finds its own commit. No two are equal.
          if (isThere(path, bytes, hadoop)) {
            return;
          }
          throw new FileAlreadyExistsException(path.toString());
        }
        if (error.statusCode() != AT_ONCE || attempt == ATTEMPTS) {
          throw error;
        }
      }
      pause(attempt);
    }
  }

  private boolean isThere(Path path, byte[] bytes, Configuration hadoop) throws IOException {
    try (CloseableIterator<String> found = read(path, hadoop)) {
      return Arrays.equals(bytes, joined(found));
    }
  }

  private static S3AFileSystem files(Path path, Configuration hadoop) throws IOException {
    FileSystem files = path.getFileSystem(hadoop);
    if (files instanceof S3AFileSystem) {
      return (S3AFileSystem) files;
    }
    throw new IOException(path + ": read by " + files.getClass().getName() + ", and this log store commits by S3A alone");
  }

  private static S3Client client(S3AFileSystem files) {
    return files.getS3AInternals().getAmazonS3Client(WHAT);
  }

  private static byte[] joined(Iterator<String> lines) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    while (lines.hasNext()) {
      bytes.write(lines.next().getBytes(StandardCharsets.UTF_8));
      bytes.write('\n');
    }
    return bytes.toByteArray();
  }

  private static void pause(int attempt) throws IOException {
    try {
      Thread.sleep(PAUSE_MS * attempt);
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      throw new IOException(WHAT + ": interrupted", error);
    }
  }
}
